//! The OpenAPI document against the server that runs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rig::Rig;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

#[tokio::test]
async fn the_document_has_the_methods_that_are_taken_and_no_other() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let document = api.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let described: BTreeSet<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let somewhere = path
            .replace("{order_id}", "none")
            .replace("{shipment_id}", "00000000-0000-0000-0000-000000000000")
            .replace("{endpoint_id}", "00000000-0000-0000-0000-000000000000");
        let mut taken = BTreeSet::new();
        for method in METHODS {
            let answer = api.ask(method, &somewhere, &[], b"").await;
            assert_ne!(answer.status, 500, "{method} {path}");
            if answer.status == 405 {
                answer.is_problem(405, "method-not-allowed");
                assert!(answer.header("allow").is_some(), "{path}");
            } else {
                taken.insert(method.to_owned());
            }
        }
        assert_eq!(described, taken, "{path}");
    }
}

#[tokio::test]
async fn every_problem_links_to_a_section_that_is_served() {
    let rig = Rig::new().await;
    let api = rig.ready().await;
    let page = String::from_utf8(api.get("/problems").await.body).unwrap();
    let problem: Value = api.get("/nowhere").await.json();
    let (page_at, section) = problem["type"].as_str().unwrap().split_once('#').unwrap();
    assert_eq!(page_at, "/problems");
    assert!(page.contains(&format!("\n## {section}\n")));
}
