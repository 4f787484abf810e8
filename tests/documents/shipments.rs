//! Shipments that go through everything there is to tell of.

use relay::{
    postgres::transaction::Tx,
    shipping::{
        decision::{Input, Outcome},
        money::Currency,
        shipment::Standing,
        step::{Key, Step},
        store::{NewOrder, NewOrderLine, NewShipment},
    },
};
use uuid::Uuid;

use crate::rig::{Rig, shipment, take, work};

/// Does every step that is asked for, until the shipment is at rest.
async fn finish(rig: &Rig, id: Uuid) {
    let mut client = rig.db.session().await;
    while let Some(entry) = rig.shipment(id).await.entries.iter().find(|entry| entry.asked) {
        work(&rig.store, &mut client, id, entry.key, Outcome::Done).await;
    }
}

async fn accepted(rig: &mut Rig, new: &NewShipment) -> Uuid {
    rig.accept(new, None).await.unwrap();
    new.shipment_id
}

/// Orders and shipments by which the outbox has every kind of event that there is.
pub async fn lives(rig: &mut Rig) {
    rig.order().await;
    let mut client = rig.db.session().await;
    let (first, rest) = (shipment(1, 4, 1), shipment(3, 2, 1));
    for new in [&first, &rest] {
        let id = accepted(rig, new).await;
        finish(rig, id).await;
        assert_eq!(rig.shipment(id).await.standing, Standing::Shipped);
    }
    // The order is fulfilled, and then it is not any more.
    take(&rig.store, &mut client, first.shipment_id, Input::Cancel).await.unwrap();
    finish(rig, first.shipment_id).await;
    assert_eq!(rig.shipment(first.shipment_id).await.standing, Standing::Cancelled);

    let refused = accepted(rig, &shipment(1, 1, 1)).await;
    work(&rig.store, &mut client, refused, Key::whole(Step::ValidateAddress), Outcome::Refused).await;
    assert_eq!(rig.shipment(refused).await.standing, Standing::Failed);

    let stuck = accepted(rig, &shipment(1, 1, 1)).await;
    work(&rig.store, &mut client, stuck, Key::whole(Step::ValidateAddress), Outcome::Done).await;
    work(&rig.store, &mut client, stuck, crate::rig::label(1), Outcome::Done).await;
    for _ in 0..2 {
        work(&rig.store, &mut client, stuck, Key::whole(Step::RecordTracking), Outcome::Later).await;
    }
    assert_eq!(rig.shipment(stuck).await.standing, Standing::NeedsAttention);

    let tx = Tx::from(client.transaction().await.unwrap());
    let line = NewOrderLine { sku: "apple".to_owned(), ordered: 20, price: 150 };
    let changed = NewOrder {
        order_id: "17".to_owned(),
        currency: Currency::new("EUR").unwrap(),
        ship_to: "{}".to_owned(),
        lines: vec![line],
        parties: vec![],
    };
    rig.store.lock_order(&tx, "17").await.unwrap();
    let headers =
        r#"{"x-request-id": "r", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    rig.store.change_order(&tx, &changed, headers).await.unwrap();
    tx.commit().await.unwrap();
    assert!(rig.store.receive_carrier_event(&client, "evt_1", b"{}", headers).await.unwrap());
}
