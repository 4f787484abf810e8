//! What an operator got wrong: said once, with the cure, and mended without a restart.

use std::{collections::BTreeSet, time::Duration};

use lapin::ExchangeKind;

use crate::{
    rig::Rig,
    support::{
        broker::Broker,
        database::Database,
        relay::{RelayProcess, finish},
        servers, wait,
    },
};

/// Leasing, scanning, writing, listening, measuring.
const USES: usize = 5;

/// relay goes on trying, and says each thing once, though each use of what is wrong may say it.
async fn assert_calm(relay: &mut RelayProcess) {
    let said = |relay: &RelayProcess| -> Vec<String> {
        let lines = relay.lines().into_iter().filter(|line| line["level"] == "WARN");
        lines.map(|line| format!("{}: {}", line["what"], line["message"])).collect()
    };
    // `/readyz` knows it a moment before the log was read.
    wait::until("the log says it", wait::LONG, async || !said(relay).is_empty()).await;
    let each_once = async || {
        let said = said(relay);
        let distinct: BTreeSet<_> = said.iter().collect();
        said.len() <= USES && distinct.len() == said.len()
    };
    wait::throughout("one line for each use of what is wrong", Duration::from_secs(3), each_once).await;
    assert!(relay.is_running());
    assert_eq!(relay.get("/livez").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_at_the_broker_is_said_once_with_the_cure() {
    let rig = Rig::new().await;
    let seq = rig.database.insert("a", "placed").await;
    let wrong = rig.broker.url.replacen("guest:guest@", "guest:s3cret@", 1);
    assert_ne!(wrong, rig.broker.url, "the test's broker has the user guest");
    let mut relay = rig.relay().env("AMQP_URL", &wrong).start().await;
    relay.wait_trouble("refused the login of user \"guest\"").await;
    assert_calm(&mut relay).await;
    assert!(relay.get("/readyz").1.contains("amqp.url"), "no cure in {:?}", relay.get("/readyz").1);
    assert!(!relay.log().contains("s3cret"), "a password in the log");
    assert_eq!(rig.database.state(seq).await.attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_at_the_database_is_said_once_with_the_cure() {
    let rig = Rig::new().await;
    let wrong = rig.database.url.replacen("postgres@", "nobody_of_this_name:s3cret@", 1);
    assert_ne!(wrong, rig.database.url, "the test's database has the user postgres");
    let mut relay = rig.relay().env("DATABASE_URL", &wrong).start().await;
    relay.wait_trouble("check user and password in database.url").await;
    assert_calm(&mut relay).await;
    assert!(!relay.log().contains("s3cret"), "a password in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_said_once_and_mended_by_migrate_without_a_restart() {
    let servers = servers::shared();
    let rig = Rig { database: Database::empty(servers).await, broker: Broker::new(servers).await };
    let mut relay = rig.relay().start().await;
    relay.wait_trouble("run `relay migrate`").await;
    assert_calm(&mut relay).await;
    let migrate = finish(&["migrate"], &[("DATABASE_URL", &rig.database.url)]);
    assert_eq!(migrate.code, Some(0), "{}", migrate.stderr);
    relay.wait_ready().await;
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_declared_otherwise_is_said_once_and_mended_without_a_restart() {
    let servers = servers::shared();
    let rig = Rig { database: Database::new(servers).await, broker: Broker::named(servers) };
    rig.broker.declare_exchange(&rig.broker.exchange, ExchangeKind::Direct).await;
    let mut relay = rig.relay().start().await;
    relay.wait_trouble("exists but differs").await;
    let (_, said) = relay.get("/readyz");
    assert!(
        said.contains(&rig.broker.exchange) && said.contains("outbox.declare"),
        "what, and the cure: {said}"
    );
    assert_calm(&mut relay).await;
    rig.broker.delete_exchange(&rig.broker.exchange).await;
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_declare_what_is_missing_is_named_and_nothing_is_created() {
    let servers = servers::shared();
    let rig = Rig { database: Database::new(servers).await, broker: Broker::named(servers) };
    let relay = rig.relay().env("RELAY_OUTBOX_DECLARE", "false").start().await;
    relay.wait_trouble("does not exist").await;
    let (_, said) = relay.get("/readyz");
    assert!(
        said.contains(&rig.broker.exchange) && said.contains("outbox.declare"),
        "what, and the cure: {said}"
    );
    rig.broker.declare_exchange(&rig.broker.exchange, ExchangeKind::Topic).await;
    relay.wait_trouble(&rig.broker.dead_letter_exchange).await;
    rig.broker.declare_exchange(&rig.broker.dead_letter_exchange, ExchangeKind::Topic).await;
    relay.wait_trouble(&rig.broker.dead_letter_queue).await;
    rig.broker.declare_queue(&rig.broker.dead_letter_queue, &[]).await;
    relay.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_may_be_declared_but_not_published_to_keeps_relay_unready_until_it_may_be() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    own.rabbitmqctl(&["-q", "add_user", "restricted", "restricted"]);
    let exchange = rig.broker.exchange.replace('.', "\\.");
    let all_but = format!("^(?!{exchange}$).*");
    own.rabbitmqctl(&["-q", "set_permissions", "restricted", ".*", &all_but, ".*"]);
    let url = rig.broker.url.replacen("guest:guest@", "restricted:restricted@", 1);
    let mut relay = rig.relay().env("AMQP_URL", &url).ready().await;
    rig.database.insert_many(20, 10).await;
    relay.wait_trouble(&format!("exchange '{}'", rig.broker.exchange)).await;
    // Each session that comes is declared well enough.
    wait::throughout("relay is unready", Duration::from_secs(4), async || {
        let (status, said) = relay.get("/readyz");
        status == 503 && said.contains(&rig.broker.exchange)
    })
    .await;
    assert_calm(&mut relay).await;
    rig.assert_nobody_charged().await;
    own.rabbitmqctl(&["-q", "set_permissions", "restricted", ".*", ".*", ".*"]);
    relay.wait_ready().await;
    rig.assert_all_went_out(wait::LONG).await;
    own.rabbitmqctl(&["-q", "delete_user", "restricted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_with_a_cache_is_said_once_at_the_start_and_by_a_check_with_the_cure() {
    let rig = Rig::new().await;
    let check = || finish(&["migrate", "--check"], &[("DATABASE_URL", &rig.database.url)]);
    let sound = check();
    assert_eq!((sound.code, sound.stderr.as_str()), (Some(0), ""));
    rig.database.execute("alter table relay.outbox alter column seq set cache 20", &[]).await;
    let cached = check();
    assert_eq!(cached.code, Some(1), "{}", cached.stderr);
    let relay = rig.relay().ready().await;
    relay.wait_log("cache of 20").await;
    // Another session finds it, too.
    let terminate = "select pg_terminate_backend(pid)::text from pg_stat_activity
                     where datname = current_database() and application_name = 'relay scan'";
    assert_eq!(rig.database.query(terminate, &[]).await.len(), 1);
    relay.wait_log("database is down").await;
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    assert_eq!(relay.log().matches("cache of 20").count(), 1);
    let cure = "alter table \"relay\".outbox alter column seq set cache 1";
    assert!(cached.stderr.contains(cure), "{}", cached.stderr);
    rig.database.execute(cure, &[]).await;
    assert_eq!(check().code, Some(0));
}

#[test]
fn every_mistake_in_the_configuration_is_listed_and_the_exit_code_is_78() {
    let env = [
        ("DATABASE_URL", "mysql://localhost/x"),
        ("RELAY_RETRY_FLOOR", "soon"),
        ("RELAY_AMQP_PUBLISHERS", "0"),
        ("RELAY_LEASE_DURATION", "1s"),
        ("RELAY_OUTBOX_ORDERING", "strickt"),
        ("RELAY_OUTBOX_POLL_INTERVALL", "1s"),
    ];
    let run = finish(&["run"], &env);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    let everything = [
        "DATABASE_URL",
        "amqp.url",
        "RELAY_RETRY_FLOOR",
        "RELAY_AMQP_PUBLISHERS",
        "RELAY_OUTBOX_ORDERING",
        "RELAY_OUTBOX_POLL_INTERVALL",
        "strict",
    ];
    for part in everything {
        assert!(run.stderr.contains(part), "{part} is not mentioned in\n{}", run.stderr);
    }
    assert!(run.stdout.is_empty());
}

#[test]
fn values_that_contradict_each_other_end_it_with_78() {
    let env = [
        ("DATABASE_URL", "postgres://localhost/x"),
        ("AMQP_URL", "amqp://localhost"),
        ("RELAY_LEASE_DURATION", "1s"),
        ("RELAY_RETRY_FLOOR", "10m"),
        ("RELAY_OUTBOX_EXCHANGE", "outbox.dlx"),
    ];
    let run = finish(&["run"], &env);
    assert_eq!(run.code, Some(78), "{}", run.stderr);
    for part in ["lease.duration", "retry.floor", "retry.cap", "dead_letter.exchange"] {
        assert!(run.stderr.contains(part), "{part} is not mentioned in\n{}", run.stderr);
    }
}

#[test]
fn an_unknown_flag_or_command_is_a_usage_error() {
    for args in [&["run", "--lease-duratoin", "3s"][..], &["rnu"], &[]] {
        let run = finish(args, &[]);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.is_empty());
    }
}

#[test]
fn a_command_that_ends_says_69_when_a_server_is_unreachable() {
    // Nobody listens on the port that is nobody's.
    let run = finish(&["migrate"], &[("DATABASE_URL", "postgres://postgres@127.0.0.1:1/x")]);
    assert_eq!(run.code, Some(69), "{}", run.stderr);
    assert!(run.stderr.contains("127.0.0.1:1"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_address_that_is_taken_is_bad_configuration() {
    let rig = Rig::new().await;
    let relay = rig.relay().start().await;
    let lines = relay.lines();
    let taken = lines.iter().find_map(|line| line["address"].as_str()).expect("it said so");
    let env = [
        ("DATABASE_URL", rig.database.url.as_str()),
        ("AMQP_URL", &rig.broker.url),
        ("RELAY_ADMIN_LISTEN", taken),
    ];
    let second = finish(&["run"], &env);
    assert_eq!(second.code, Some(78), "{}", second.stderr);
    assert!(second.stderr.contains("admin.listen") && second.stderr.contains(taken), "{}", second.stderr);
}
