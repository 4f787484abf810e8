//! What the simulator sold stays sold, whatever happens to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use relay::shipping::carrier::verdict::Verdict;

use crate::{
    sim::{self, Sim, created},
    wait,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_in_the_middle_of_sales_every_label_that_was_answered_for_is_in_the_ledger() {
    let mut sim = Sim::start(&[]);
    let (mut sold, mut unsure) = (vec![], 0_u64);
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let sellers: Vec<_> = (0..4)
            .map(|seller| {
                let (carrier, stop) = (sim.carrier(), stop.clone());
                tokio::spawn(async move {
                    let (mut codes, mut unsure, mut number) = (vec![], 0_u64, 0);
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let order = sim::order(&format!("{round}-{seller}-{number}"));
                        let Verdict::Succeeded(shipment) = carrier.create_shipment(&order).await else {
                            break;
                        };
                        let rate = &shipment.cheapest("USD", None).expect("it has rates").id;
                        match carrier.buy(&shipment.id, rate).await {
                            Verdict::Succeeded(label) => codes.push(label.tracking_code),
                            Verdict::Unknown(_) => unsure += 1,
                            Verdict::TryLater(_) => {}
                            Verdict::Refused(error) => panic!("{error:?}"),
                        }
                    }
                    (codes, unsure)
                })
            })
            .collect();
        let before = sold.len();
        wait::until("some labels are sold", wait::LONG, async || {
            sim.ledger().await["counts"]["bought"].as_u64().unwrap_or(0) > before as u64 + 20
        })
        .await;
        sim.kill();
        stop.store(true, Ordering::Relaxed);
        for seller in sellers {
            let (codes, doubts) = seller.await.expect("it ends");
            sold.extend(codes);
            unsure += doubts;
        }
        sim.restart();
        let ledger = sim.ledger().await;
        let labels: Vec<&str> = ledger["labels"]
            .as_array()
            .expect("labels")
            .iter()
            .filter_map(|label| label["tracking_code"].as_str())
            .collect();
        assert!(sold.iter().all(|code| labels.contains(&code.as_str())), "a label is missing");
        let extra = labels.len() - sold.len();
        assert!(extra as u64 <= unsure, "{extra} labels more than we know of, and only {unsure} doubts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_that_was_created_before_a_restart_can_be_bought_after_it() {
    let mut sim = Sim::start(&[]);
    let carrier = sim.carrier();
    let (shipment, rate) = created(&carrier, "restart").await;
    sim.kill();
    sim.restart();
    assert_eq!(sim::succeeded(carrier.buy(&shipment.id, &rate).await).shipment_id, shipment.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_ends_with_a_reason() {
    let sim = Sim::start(&[]);
    let ledger = sim.ledger.display().to_string();
    let listen = ["--listen", "127.0.0.1:0"];
    for (args, code, reason) in [
        (vec!["--ledger", &ledger], 1, "in use by another process"),
        (vec!["--ledger", "/nowhere/ledger"], 1, "cannot open the ledger /nowhere/ledger"),
        (vec!["--script", "/nowhere/script"], 1, "cannot read the script"),
        (vec!["--script", env!("CARGO_MANIFEST_PATH")], 2, "cannot read the script"),
        (vec!["--webhook-url", "http://127.0.0.1:1/"], 2, "--webhook-secret"),
    ] {
        let args: Vec<&str> = listen.into_iter().chain(args).collect();
        let output = sim::command(&args).output().expect("it can be run");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
    }
}
