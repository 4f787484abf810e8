use crate::{
    operator::relay,
    rig::{Kind, Post, Rig, post},
    support::wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_dead_lettered_once_and_the_rest_goes_on() {
    let rig = Rig::new().await;
    let huge = format!("\"{}\"", "x".repeat(10 * 1024 * 1024));
    let garbage: [(&str, Post); 6] = [
        ("no_message_id", Post { id: None, ..post("x") }),
        ("no_type", Post { kind: None, ..post("no-type") }),
        ("invalid_json", post("not-json").body("{")),
        ("invalid_json", Post { body: vec![0x1f, 0x8b, 8, 0], ..post("zipped") }),
        ("invalid_json", post("deep").body(&"[".repeat(100_000))),
        ("body_too_large", post("huge").body(&huge)),
    ];
    let consumer = rig.start(Kind::Inside);
    for (_, post) in &garbage {
        rig.publish(post).await;
    }
    rig.publish(&post("good")).await;
    rig.wait_done("good").await;
    consumer.wait_count("garbage", 6).await;
    let letters = rig.broker.wait_dead_letters(6).await;
    let mut reasons: Vec<String> = letters.iter().map(|letter| letter.text("x-relay-reason")).collect();
    let mut expected: Vec<String> = garbage.iter().map(|(reason, _)| (*reason).to_owned()).collect();
    reasons.sort();
    expected.sort();
    assert_eq!(reasons, expected);
    assert!(letters.iter().all(|letter| letter.text("x-relay-consumer") == "shop"));
    assert!(letters.iter().any(|letter| letter.body == huge.as_bytes()), "the whole of it is kept");
    consumer.drain().await;
    assert_eq!(rig.queue_depth().await, 0, "all are acknowledged");
    assert_eq!(rig.database.number("select count(*) from relay.inbox").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_type_is_the_handlers_to_judge() {
    let rig = Rig::new().await;
    let consumer = rig.start(Kind::Inside);
    rig.publish(&Post { kind: Some("nobody.knows".to_owned()), ..post("a") }).await;
    rig.wait_state("a", "dead").await;
    assert_eq!(rig.broker.wait_dead_letters(1).await[0].text("x-relay-reason"), "unknown_type");
    consumer.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_stays_with_the_broker_until_its_letter_is_confirmed() {
    let rig = Rig::new().await;
    rig.broker.delete_queue(&rig.broker.dead_letter_queue).await;
    let consumer = rig.start(Kind::Inside);
    rig.publish(&post("bad").body("{")).await;
    wait::until("its letter came back", wait::LONG, async || {
        consumer.health.troubles().iter().any(|trouble| trouble.contains("no queue takes letters"))
    })
    .await;
    consumer.drain().await;
    wait::until("it is back in the queue", wait::LONG, async || rig.queue_depth().await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_no_message_goes_back_to_its_queue_as_it_came_when_an_operator_says_so() {
    let rig = Rig::new().await;
    let narrow = rig.start_with(Kind::Inside, |settings| settings.body_bytes = 1024);
    let body = format!("{{\"text\": \"{}\"}}", "x".repeat(2000));
    for id in ["one", "two"] {
        rig.publish(&post(id).of("17", 4).body(&body)).await;
    }
    narrow.wait_count("garbage", 2).await;
    narrow.drain().await;

    // The inbox has none of it, and the answer says where it is.
    let (code, done, said) = relay(&rig, &["replay-dlq", "--consumer", "shop", "--all", "--yes"]);
    assert_eq!((code, done.trim()), (Some(0), "replayed 0 messages of shop"), "{said}");
    assert!(said.contains("replay-dlq --foreign --allow-queue"), "{said}");
    let (_, stays, _) = relay(&rig, &["replay-dlq", "--foreign", "--allow-queue", "another", "--yes"]);
    assert!(stays.contains("not allowed") && stays.contains(&rig.queue()), "{stays}");

    let queue = rig.queue();
    let back = ["replay-dlq", "--foreign", "--allow-queue", &queue, "--limit", "1", "--yes"];
    let (code, _, said) = relay(&rig, &back);
    assert_eq!(code, Some(0), "{said}");
    let came = rig.broker.drain(&queue).await;
    assert_eq!((came.len(), came[0].id.as_str(), came[0].kind.as_str()), (1, "one", "placed"));
    assert!(came[0].body == body.as_bytes(), "the same bytes");
    let mut headers: Vec<&str> = came[0].headers.keys().map(String::as_str).collect();
    headers.retain(|name| *name != "x-delivery-count");
    headers.sort_unstable();
    let own = ["traceparent", "x-relay-aggregate-id", "x-relay-aggregate-type", "x-relay-created-at"];
    assert_eq!(headers, [&own[..], &["x-relay-seq"]].concat());

    let (code, _, said) = relay(&rig, &back);
    assert_eq!(code, Some(0), "{said}");
    let wide = rig.start(Kind::Inside);
    rig.wait_done("two").await;
    assert_eq!(rig.effects("two").await, 1);
    wide.drain().await;
    assert!(rig.broker.drain(&rig.broker.dead_letter_queue).await.is_empty(), "no letter is left");
}
