//! Postgres over TLS: relay talks to a server that it can verify, or not at all.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use uuid::Uuid;

use crate::{
    rig::Rig,
    support::{
        relay::{Relay, finish},
        servers, wait,
    },
};

/// An authority, and the file with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", Uuid::new_v4()));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Gives the server of the rig a certificate for this host, and turns TLS on. Postgres itself writes the files, for it
/// reads a key only if nobody else may.
async fn encrypt(rig: &Rig, authority: &Authority, host: &str) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    for (setting, file, text) in [
        ("ssl_cert_file", "relay-test.crt", certificate.pem()),
        ("ssl_key_file", "relay-test.key", key.serialize_pem()),
    ] {
        let lines = format!("select regexp_split_to_table('{}', '\\r?\\n')", text.trim());
        rig.database.execute(&format!("copy ({lines}) to program 'umask 077; cat > {file}'"), &[]).await;
        rig.database.execute(&format!("alter system set {setting} = '{file}'"), &[]).await;
    }
    rig.database.execute("alter system set ssl = on", &[]).await;
    rig.database.execute("select pg_reload_conf()", &[]).await;
    wait::until("Postgres has read its configuration", wait::LONG, async || {
        let session = rig.database.session().await;
        session.query_one("show ssl", &[]).await.unwrap().get::<_, &str>(0) == "on"
    })
    .await;
}

/// relay, that insists on TLS, and trusts this authority.
fn trusting(rig: &Rig, authority: &Authority) -> Relay {
    rig.relay().env("RELAY_DATABASE_TLS", "require").env("RELAY_DATABASE_CA_FILE", authority.file())
}

/// How many sessions of relay's there are, and how many of them are encrypted.
async fn sessions(rig: &Rig) -> (i64, i64) {
    let sql = "select count(*), count(*) filter (where s.ssl) from pg_stat_activity a join pg_stat_ssl s using (pid)
               where a.datname = current_database() and a.application_name like 'relay %'";
    let rows = rig.database.query(sql, &[]).await;
    (rows[0].get(0), rows[0].get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_out_and_commits_wake_relay_over_verified_tls() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let authority = Authority::new("trusted");
    encrypt(&rig, &authority, "127.0.0.1").await;
    let relay = trusting(&rig, &authority).env("RELAY_OUTBOX_POLL_INTERVAL", "60s").ready().await;
    relay.wait_metric("relay_listen_connected", &[], wait::LONG, |connected| connected == 1.0).await;
    crate::wake_up::wait_asleep(&rig.database).await;
    rig.database.wait_published(rig.database.insert("a", "placed").await).await;
    assert!(relay.metric("relay_wakeups_total", &["cause=\"notify\""]) >= 1.0);
    rig.database.insert_many(500, 50).await;
    assert_eq!(rig.assert_all_went_out(wait::LONG).await, 0);
    let (all, encrypted) = sessions(&rig).await;
    assert!(all >= 5 && encrypted == all, "{encrypted} of {all} sessions are encrypted");

    let env = [
        ("DATABASE_URL", rig.database.url.as_str()),
        ("RELAY_DATABASE_TLS", "require"),
        ("RELAY_DATABASE_CA_FILE", authority.file()),
    ];
    let checked = finish(&["migrate", "--check"], &env);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_be_verified_is_refused_with_the_reason_and_the_cure() {
    let own = servers::own().await;
    let rig = Rig::on(own.servers()).await;
    let (authority, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    encrypt(&rig, &stranger, "127.0.0.1").await;
    let distrusting = trusting(&rig, &authority).start().await;
    distrusting.wait_trouble("UnknownIssuer").await;
    assert!(distrusting.get("/readyz").1.contains("database.ca_file"), "{}", distrusting.get("/readyz").1);

    let url = rig.database.url.replacen("@127.0.0.1:", "@localhost:", 1);
    assert_ne!(url, rig.database.url);
    let elsewhere = trusting(&rig, &stranger).env("DATABASE_URL", &url).start().await;
    elsewhere.wait_trouble("not valid for name").await;
    assert_eq!(sessions(&rig).await, (0, 0));

    // The URL's own word, which to libpq means "encrypted, by whomever", does not soften it.
    let url = format!("{}?sslmode=prefer", rig.database.url);
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("RELAY_DATABASE_TLS", "require"),
        ("RELAY_DATABASE_CA_FILE", authority.file()),
    ];
    let checked = finish(&["migrate", "--check"], &env);
    assert_ne!(checked.code, Some(0));
    assert!(checked.stderr.contains("UnknownIssuer"), "{}", checked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_no_plaintext_where_tls_is_required() {
    let rig = Rig::new().await;
    let off = rig.database.query("show ssl", &[]).await[0].get::<_, &str>(0) == "off";
    assert!(off, "the test's database server has no TLS");
    let authority = Authority::new("trusted");
    let relay = trusting(&rig, &authority).start().await;
    relay.wait_trouble("does not support TLS").await;
    assert!(relay.get("/readyz").1.contains("database.tls"), "{}", relay.get("/readyz").1);
    assert_eq!(sessions(&rig).await, (0, 0));
}
