//! What every command of `shipments` that talks to a server is told.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    amqp::AmqpSettings,
    app::Unusable,
    cli::Failure,
    config::Secret,
    postgres::settings::{DatabaseSettings, Tls},
    shipping::roles::Part,
};

const CONNECT: Duration = Duration::from_secs(10);
const STATEMENT: Duration = Duration::from_secs(30);

/// The database.
#[derive(Debug, Clone, Args)]
pub(super) struct Database {
    /// Where shipping's tables and relay's are
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = secret)]
    database_url: Option<Secret>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "DATABASE_URL_FILE", conflicts_with = "database_url")]
    database_url_file: Option<PathBuf>,
    /// A PEM file with further certificate authorities for it
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_DATABASE_CA_FILE")]
    database_ca_file: Option<PathBuf>,
    /// The schema relay lives in
    #[arg(long, value_name = "NAME", env = "SHIPMENTS_RELAY_SCHEMA", default_value = "relay")]
    relay_schema: String,
}

impl Database {
    /// How to connect.
    pub(super) fn settings(&self) -> Result<DatabaseSettings, Failure> {
        let url = given("DATABASE_URL", self.database_url.as_ref(), self.database_url_file.as_ref())?
            .ok_or_else(|| missing("DATABASE_URL", "--database-url or --database-url-file"))?;
        self.at(&url)
    }

    /// How a part connects: by a URL of its own, if there is one in the environment.
    pub(super) fn of(&self, part: Part) -> Result<DatabaseSettings, Failure> {
        let name = format!("SHIPMENTS_{}_DATABASE_URL", part.as_str().to_uppercase());
        let url = std::env::var_os(&name).map(|url| Secret::new(url.to_string_lossy()));
        let file = std::env::var_os(format!("{name}_FILE")).map(PathBuf::from);
        match given("the database URL of a part", url.as_ref(), file.as_ref())? {
            Some(url) => self.at(&url),
            None => self.settings(),
        }
    }

    fn at(&self, url: &Secret) -> Result<DatabaseSettings, Failure> {
        let config = url.expose().parse().map_err(|_| {
            unusable("DATABASE_URL", "it is no connection string that can be used".to_owned())
        })?;
        Ok(DatabaseSettings {
            config,
            tls: Tls::Auto,
            ca_file: self.database_ca_file.clone(),
            connect_timeout: CONNECT,
            statement_timeout: STATEMENT,
            pooled: false,
            schema: self.relay_schema.clone(),
        })
    }
}

/// The broker.
#[derive(Debug, Clone, Args)]
pub(super) struct Broker {
    /// The broker that relay publishes to
    #[arg(long, value_name = "URL", env = "AMQP_URL", hide_env_values = true, value_parser = secret)]
    amqp_url: Option<Secret>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "AMQP_URL_FILE", conflicts_with = "amqp_url")]
    amqp_url_file: Option<PathBuf>,
    /// A PEM file with further certificate authorities for it
    #[arg(long, value_name = "FILE", env = "SHIPMENTS_AMQP_CA_FILE")]
    amqp_ca_file: Option<PathBuf>,
}

impl Broker {
    /// How to connect.
    pub(super) fn settings(&self) -> Result<AmqpSettings, Failure> {
        let url = given("AMQP_URL", self.amqp_url.as_ref(), self.amqp_url_file.as_ref())?
            .ok_or_else(|| missing("AMQP_URL", "--amqp-url or --amqp-url-file"))?;
        let uri = url.expose().parse().map_err(|error| unusable("AMQP_URL", format!("{error}")))?;
        let settings = AmqpSettings { ca_file: self.amqp_ca_file.clone(), ..AmqpSettings::new(uri) };
        settings.check()?;
        Ok(settings)
    }
}

/// As clap's value parser: whatever was typed, kept from being shown.
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A secret that was given, or the first line of the file it was said to be in.
pub(super) fn given(
    name: &'static str,
    value: Option<&Secret>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, Failure> {
    let Some(file) = file else { return Ok(value.cloned()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| unusable(name, format!("{} can't be read: {error}", file.display())))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Some(Secret::new(line))),
        _ => Err(unusable(name, format!("the first line of {} is empty", file.display()))),
    }
}

/// A value that can't be used, and why.
pub(super) fn unusable(name: &'static str, reason: String) -> Failure {
    Unusable::new(name, reason).into()
}

/// A value that is needed and was not given.
pub(super) fn missing(name: &'static str, cure: &str) -> Failure {
    unusable(name, format!("it is not set; give {cure}"))
}
