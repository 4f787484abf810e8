//! Transactions whose statements are planned once a connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its support says why"
)]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "a test's support is shared with others")]

mod support;

use futures_util::future::join;
use relay::postgres::connect::{Connection, connect};
use support::{
    database::{Database, settings},
    servers,
};
use tokio_postgres::types::{ToSql, Type};

async fn connection(database: &Database) -> Connection {
    let connection = connect(&settings(&database.url), "test").await.unwrap();
    connection.client.batch_execute("create temp table t (n bigint)").await.unwrap();
    connection
}

async fn number(connection: &Connection, sql: &str) -> i64 {
    connection.client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_statement_is_prepared_once_and_then_used_in_every_transaction() {
    let database = Database::new(servers::shared()).await;
    let mut connection = connection(&database).await;
    for n in 1..=3_i64 {
        let tx = connection.begin().await.unwrap();
        tx.query_typed("insert into pg_temp.t values ($1)", &[(&n, Type::INT8)]).await.unwrap();
        tx.commit().await.unwrap();
    }
    let prepared =
        "select generic_plans + custom_plans from pg_prepared_statements where statement like 'insert%'";
    assert_eq!(number(&connection, prepared).await, 2, "all but the first time");
    assert_eq!(number(&connection, "select sum(n)::bigint from pg_temp.t").await, 6);
}

#[tokio::test]
async fn of_statements_that_are_sent_together_none_overtakes_another_for_being_known() {
    let database = Database::new(servers::shared()).await;
    let mut connection = connection(&database).await;
    let count = "select count(*) from pg_temp.t";
    let tx = connection.begin().await.unwrap();
    tx.query_typed_one(count, &[]).await.unwrap();
    tx.commit().await.unwrap();
    let tx = connection.begin().await.unwrap();
    let insert = tx.query_typed("insert into pg_temp.t values (1)", &[]);
    let (inserted, counted) = join(insert, tx.query_typed_one(count, &[])).await;
    inserted.unwrap();
    assert_eq!(counted.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_statement_whose_table_was_changed_is_prepared_anew() {
    let database = Database::new(servers::shared()).await;
    let mut connection = connection(&database).await;
    let all = "select * from pg_temp.t";
    for _ in 0..2 {
        let tx = connection.begin().await.unwrap();
        tx.query_typed(all, &[]).await.unwrap();
        tx.commit().await.unwrap();
    }
    connection.client.batch_execute("alter table pg_temp.t add more text").await.unwrap();
    let tx = connection.begin().await.unwrap();
    let error = tx.query_typed(all, &[]).await.unwrap_err();
    assert!(error.as_db_error().is_some_and(|error| error.message().contains("cached plan")), "{error:?}");
    tx.rollback().await.unwrap();
    let tx = connection.begin().await.unwrap();
    tx.query_typed(all, &[]).await.unwrap();
}

#[tokio::test]
async fn texts_that_are_made_up_as_one_goes_do_not_fill_the_connection() {
    let database = Database::new(servers::shared()).await;
    let mut connection = connection(&database).await;
    let tx = connection.begin().await.unwrap();
    for n in 0..300 {
        tx.query_typed(&format!("select {n}"), &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let kept = number(&connection, "select count(*) from pg_prepared_statements").await;
    assert!(kept <= 257, "{kept} with the one that counts");
    let latest = "select count(*) from pg_prepared_statements where statement = 'select 299'";
    assert_eq!(number(&connection, latest).await, 1, "it took the place of another");
}

#[tokio::test]
async fn a_text_may_be_asked_with_values_of_other_types() {
    let database = Database::new(servers::shared()).await;
    let mut connection = connection(&database).await;
    let tx = connection.begin().await.unwrap();
    let text = "select $1::bigint";
    for _ in 0..2 {
        for (value, of) in [(&1_i64 as &(dyn ToSql + Sync), Type::INT8), (&1_i32, Type::INT4)] {
            assert_eq!(tx.query_typed_one(text, &[(value, of)]).await.unwrap().get::<_, i64>(0), 1);
        }
    }
}
