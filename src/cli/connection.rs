//! By which connection a command reaches the database, and so as which role.

use super::Failure;
use crate::{
    app,
    config::Config,
    postgres::{
        connect::{Connection, connect},
        settings::DatabaseSettings,
    },
};

/// What shows in `pg_stat_activity`.
const NAME: &str = "relay operator";

/// For commands of operators: by `database.operator_url`, where it is set.
pub(super) async fn open(config: &Config) -> Result<Connection, Failure> {
    Ok(connect(&operators(config)?, NAME).await?)
}

/// For commands that do what operators' roles may not, add rows or remove them: by `database.url`.
pub(super) async fn open_as_relay(config: &Config) -> Result<Connection, Failure> {
    Ok(connect(&relays(config)?, NAME).await?)
}

/// How [`open`] connects.
pub(super) fn operators(config: &Config) -> Result<DatabaseSettings, Failure> {
    Ok(app::operators_database(config, &relays(config)?)?)
}

fn relays(config: &Config) -> Result<DatabaseSettings, Failure> {
    let url = config.database_url().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(app::database(config, url)?)
}
