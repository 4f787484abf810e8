//! What a browser is given: files as they stand in the source, within the binary. They hold no data.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// A file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    /// Where it is.
    pub(super) path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

impl Asset {
    /// It, as an answer. A browser asks again each time: after an upgrade it must not mix two versions.
    pub(super) fn answer(&self) -> Response {
        let mut response = self.text.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them.
pub(super) const ASSETS: &[Asset] = &[
    Asset { path: "/", media_type: HTML, text: include_str!("assets/index.html") },
    Asset { path: "/page.css", media_type: CSS, text: include_str!("assets/page.css") },
    Asset { path: "/page.js", media_type: SCRIPT, text: include_str!("assets/page.js") },
    Asset { path: "/page/acts.js", media_type: SCRIPT, text: include_str!("assets/acts.js") },
    Asset { path: "/page/api.js", media_type: SCRIPT, text: include_str!("assets/api.js") },
    Asset { path: "/page/audit.js", media_type: SCRIPT, text: include_str!("assets/audit.js") },
    Asset { path: "/page/cards.js", media_type: SCRIPT, text: include_str!("assets/cards.js") },
    Asset { path: "/page/chart.js", media_type: SCRIPT, text: include_str!("assets/chart.js") },
    Asset { path: "/page/dead.js", media_type: SCRIPT, text: include_str!("assets/dead.js") },
    Asset { path: "/page/dialog.js", media_type: SCRIPT, text: include_str!("assets/dialog.js") },
    Asset { path: "/page/dom.js", media_type: SCRIPT, text: include_str!("assets/dom.js") },
    Asset { path: "/page/findings.js", media_type: SCRIPT, text: include_str!("assets/findings.js") },
    Asset { path: "/page/format.js", media_type: SCRIPT, text: include_str!("assets/format.js") },
    Asset { path: "/page/key.js", media_type: SCRIPT, text: include_str!("assets/key.js") },
    Asset { path: "/page/lanes.js", media_type: SCRIPT, text: include_str!("assets/lanes.js") },
    Asset { path: "/page/letter.js", media_type: SCRIPT, text: include_str!("assets/letter.js") },
    Asset { path: "/page/overview.js", media_type: SCRIPT, text: include_str!("assets/overview.js") },
    Asset { path: "/page/shipment.js", media_type: SCRIPT, text: include_str!("assets/shipment.js") },
    Asset { path: "/page/sign.js", media_type: SCRIPT, text: include_str!("assets/sign.js") },
    Asset { path: "/page/trace.js", media_type: SCRIPT, text: include_str!("assets/trace.js") },
    Asset { path: "/page/views.css", media_type: CSS, text: include_str!("assets/views.css") },
];
