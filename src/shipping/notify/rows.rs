//! Notifications and deliveries in Postgres. Every function works in the caller's transaction, under the shipment's lock.

use std::{sync::Arc, time::Duration};

use lettre::message::Mailbox;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    attempt::{Attempt, Standing},
    message::{self, Kind, Parcel, Story},
    signing::SigningSecret,
};
use crate::{
    postgres::transaction::Tx,
    {consumer::Failure, row::micros},
};

/// A party, and how it is told.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) order_id: String,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    Mail(String),
    Webhook(Endpoint),
    /// An endpoint that was disabled, and why.
    Disabled(Uuid, String),
}

/// Where webhooks go.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) id: Uuid,
    /// Rises with every change of its owner's.
    pub(super) version: i64,
    pub(super) url: String,
    pub(super) secret: SigningSecret,
    /// While a rotation lasts.
    pub(super) previous: Option<SigningSecret>,
}

/// Which notification.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice {
    pub(super) shipment_id: Uuid,
    pub(super) party: i16,
    pub(super) kind: Kind,
}

/// A notification as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) id: Uuid,
    pub(super) body: Arc<[u8]>,
}

pub(super) async fn party(tx: &Tx<'_>, shipment_id: Uuid, number: i16) -> Result<Option<Party>, Failure> {
    let sql = include_str!("../../../sql/shipping/queries/parties/find.sql");
    let parameters = [(&shipment_id as _, Type::UUID), (&number as _, Type::INT2)];
    let Some(row) = tx.query_typed_opt(sql, &parameters).await? else { return Ok(None) };
    let way = match (row.try_get(2)?, row.try_get::<_, Option<String>>(8)?) {
        (Some(mail), _) => Way::Mail(mail),
        (None, Some(reason)) => Way::Disabled(row.try_get(3)?, reason),
        (None, None) => Way::Webhook(Endpoint {
            id: row.try_get(3)?,
            url: row.try_get(4)?,
            version: row.try_get(5)?,
            secret: SigningSecret::from_bytes(row.try_get::<_, &[u8]>(6)?)?,
            previous: row.try_get::<_, Option<&[u8]>>(7)?.map(SigningSecret::from_bytes).transpose()?,
        }),
    };
    Ok(Some(Party { order_id: row.try_get(0)?, way }))
}

/// What there is to tell about a shipment.
pub(super) async fn story(tx: &Tx<'_>, shipment_id: Uuid, order_id: &str) -> Result<Story, Failure> {
    let sql = include_str!("../../../sql/shipping/queries/cases/labelled.sql");
    let rows = tx.query_typed(sql, &[(&shipment_id, Type::UUID)]).await?;
    let parcel = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(Parcel {
            case: row.try_get(0)?,
            carrier: row.try_get(1)?,
            tracking_code: row.try_get(2)?,
        })
    };
    let parcels = rows.iter().map(parcel).collect::<Result<_, _>>()?;
    Ok(Story { shipment_id, order_id: order_id.to_owned(), parcels })
}

/// The notification if it was written before.
pub(super) async fn find(tx: &Tx<'_>, notice: Notice) -> Result<Option<Written>, Failure> {
    let sql = include_str!("../../../sql/shipping/queries/notifications/find.sql");
    let Notice { shipment_id, party, kind } = notice;
    let parameters =
        [(&shipment_id as _, Type::UUID), (&party as _, Type::INT2), (&kind.as_str() as _, Type::TEXT)];
    let row = tx.query_typed_opt(sql, &parameters).await?;
    Ok(row
        .map(|row| {
            Ok::<_, tokio_postgres::Error>(Written {
                id: row.try_get(0)?,
                body: row.try_get::<_, &[u8]>(1)?.into(),
            })
        })
        .transpose()?)
}

/// Writes a notification down, to a mail address or else to a webhook. `None` if no mail can be written to that address.
pub(super) async fn write(
    tx: &Tx<'_>,
    notice: Notice,
    order_id: &str,
    mail: Option<(&Mailbox, &str)>,
) -> Result<Result<Written, message::Unsendable>, Failure> {
    let story = story(tx, notice.shipment_id, order_id).await?;
    let (id, now) = (Uuid::new_v4(), std::time::SystemTime::now());
    let body = match mail {
        Some((from, to)) => match message::mail(notice.kind, &story, id, from, to, now) {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        },
        None => message::webhook(notice.kind, &story, now)?,
    };
    let sql = include_str!("../../../sql/shipping/queries/notifications/insert.sql");
    tx.query_typed(
        sql,
        &[
            (&id, Type::UUID),
            (&notice.shipment_id, Type::UUID),
            (&order_id, Type::TEXT),
            (&notice.party, Type::INT2),
            (&notice.kind.as_str(), Type::TEXT),
            (&body, Type::BYTEA),
        ],
    )
    .await?;
    Ok(Ok(Written { id, body: body.into() }))
}

/// What a notification has come to.
pub(super) async fn settle(
    tx: &Tx<'_>,
    notice: Notice,
    standing: Standing,
    problem: Option<&str>,
) -> Result<(), Failure> {
    let sql = include_str!("../../../sql/shipping/queries/notifications/settle.sql");
    tx.query_typed(
        sql,
        &[
            (&notice.shipment_id, Type::UUID),
            (&notice.party, Type::INT2),
            (&notice.kind.as_str(), Type::TEXT),
            (&standing.as_str(), Type::TEXT),
            (&problem, Type::TEXT),
        ],
    )
    .await?;
    Ok(())
}

/// A webhook is about to be called.
pub(super) async fn begin_delivery(tx: &Tx<'_>, notification: Uuid, endpoint: Uuid) -> Result<(), Failure> {
    let sql = include_str!("../../../sql/shipping/queries/deliveries/begin.sql");
    tx.query_typed(sql, &[(&notification, Type::UUID), (&endpoint, Type::UUID)]).await?;
    Ok(())
}

/// A webhook was called, or is not to be.
pub(super) async fn settle_delivery(
    tx: &Tx<'_>,
    notice: Notice,
    standing: Standing,
    attempt: &Attempt,
    problem: Option<&str>,
) -> Result<(), Failure> {
    let state = match standing {
        Standing::Pending => "pending",
        Standing::Sent => "delivered",
        Standing::Failed | Standing::Unknown => "failed",
    };
    let status = attempt.status.and_then(|status| i16::try_from(status).ok());
    let status = status.filter(|status| (100..600).contains(status));
    let sql = include_str!("../../../sql/shipping/queries/deliveries/settle.sql");
    tx.query_typed(
        sql,
        &[
            (&notice.shipment_id, Type::UUID),
            (&notice.party, Type::INT2),
            (&notice.kind.as_str(), Type::TEXT),
            (&state, Type::TEXT),
            (&attempt.after.map(micros), Type::INT8),
            (&status, Type::INT2),
            (&problem, Type::TEXT),
        ],
    )
    .await?;
    Ok(())
}

/// Its receiver said that the endpoint is gone. Returns whether it was disabled now.
pub(super) async fn disable(tx: &Tx<'_>, endpoint: Uuid, version: i64, why: &str) -> Result<bool, Failure> {
    let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/disable.sql");
    Ok(tx.execute(sql, &[&endpoint, &version, &why]).await? == 1)
}

/// The webhook had all its attempts. Returns whether its endpoint was disabled for that.
pub(super) async fn disable_failing(
    tx: &Tx<'_>,
    notice: Notice,
    time: Duration,
    why: &str,
) -> Result<bool, Failure> {
    let sql = include_str!("../../../sql/shipping/queries/webhook_endpoints/disable_failing.sql");
    let Notice { shipment_id, party, kind } = notice;
    Ok(tx.execute(sql, &[&shipment_id, &party, &kind.as_str(), &micros(time), &why]).await? == 1)
}
