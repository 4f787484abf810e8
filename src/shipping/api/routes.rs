//! Which paths there are, and who answers them.

use axum::{
    Router,
    http::Method,
    middleware,
    routing::{MethodRouter, delete, get, post, put},
};

use super::{
    carrier_webhooks, documents, endpoints,
    gate::gate,
    orders,
    problem::{Code, Problem},
    shipments,
    state::Api,
};

/// Where the carrier's webhooks come in.
pub(super) const CARRIER_WEBHOOKS: &str = "/webhooks/carrier";
/// One shipment.
pub(super) const SHIPMENT: &str = "/shipments/{shipment_id}";
const OPENAPI: &str = "/openapi.json";
const PROBLEMS: &str = "/problems";
/// What needs no token. `none` is what is not here: that nothing is there is no secret.
pub(super) const PUBLIC: &[&str] = &[OPENAPI, PROBLEMS, "none"];

type Route = (&'static str, fn() -> MethodRouter<Api>);

/// Every path. The document in `openapi.json` has the same ones.
const ROUTES: &[Route] = &[
    ("/shipments", || post(shipments::create).get(shipments::list)),
    ("/shipments/batch", || post(shipments::batch)),
    (SHIPMENT, || get(shipments::show)),
    ("/shipments/{shipment_id}/cancel", || post(shipments::cancel)),
    ("/orders/{order_id}", || put(orders::put).get(orders::show)),
    ("/webhook-endpoints", || post(endpoints::register).get(endpoints::list)),
    ("/webhook-endpoints/{endpoint_id}", || delete(endpoints::withdraw).get(endpoints::show)),
    ("/webhook-endpoints/{endpoint_id}/rotate-secret", || post(endpoints::rotate)),
    (CARRIER_WEBHOOKS, || post(carrier_webhooks::receive)),
    (OPENAPI, || get(documents::openapi)),
    (PROBLEMS, || get(documents::problems)),
];

/// All of it, behind the gate.
pub(super) fn router(api: Api) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, (path, handlers)| router.route(path, handlers()))
        .method_not_allowed_fallback(async |method: Method| {
            Problem::new(Code::MethodNotAllowed, format!("{method} is not taken; Allow names what is"))
        })
        .fallback(async || Problem::new(Code::NotFound, "there is no such path; /openapi.json has them all"))
        .layer(middleware::from_fn_with_state(api.clone(), gate))
        .with_state(api)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn the_document_has_the_paths_that_there_are() {
        let document: Value = serde_json::from_str(super::documents::OPENAPI).expect("it is JSON");
        let described: BTreeSet<&str> =
            document["paths"].as_object().expect("it has paths").keys().map(String::as_str).collect();
        assert_eq!(described, super::ROUTES.iter().map(|(path, _)| *path).collect());
    }
}
