//! `lipsync tenants`: who may call a server, and keys for them.

pub(super) mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::Global;
use super::import::replace;
use super::output::{Output, table};
use crate::config::add_key::{TenantsIn, add_key};
use crate::config::{Choice as _, Config, load_tenants};
use crate::tenants::{KeyHash, Roster, new_key};

/// Options of `tenants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the tenants of the configuration
    List,
    /// Make a key, show it once, and add its hash to the tenant, which is added where it is new
    AddKey {
        /// The tenant, by name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs the command.
///
/// # Errors
/// If a file is wrong or cannot be changed.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List => list(global, output),
        Command::AddKey { name } => add(global, name, output),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What `tenants list --json` prints of each.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    role: &'static str,
    keys: usize,
    class: &'static str,
    weight: u32,
    file: &'a Path,
}

fn list(global: &Global, output: &Output) -> anyhow::Result<()> {
    let config = Config::load(&global.config)?;
    let own = match &config.server.tenants_file {
        Some(path) => load_tenants(path)?,
        None => Roster::default(),
    };
    let own_path = config.server.tenants_file.clone().unwrap_or_default();
    let mut listed = Vec::new();
    for (roster, file) in [(&config.tenants, &config.path), (&own, &own_path)] {
        listed.extend(roster.tenants.iter().map(|tenant| Listed {
            name: &tenant.name,
            role: tenant.role.word(),
            keys: tenant.keys.len(),
            class: tenant.terms.class.word(),
            weight: tenant.terms.weight,
            file,
        }));
    }
    output.result(&listed, || {
        let mut table = table(["tenant", "role", "keys", "class", "weight"], 2);
        for tenant in &listed {
            table.add_row([
                tenant.name.to_owned(),
                tenant.role.to_owned(),
                tenant.keys.to_string(),
                tenant.class.to_owned(),
                tenant.weight.to_string(),
            ]);
        }
        table.to_string()
    })?;
    Ok(())
}

/// What `tenants add-key --json` prints.
#[derive(Serialize)]
struct Added<'a> {
    tenant: &'a str,
    key: &'a str,
    file: &'a Path,
}

fn add(global: &Global, name: &str, output: &Output) -> anyhow::Result<()> {
    let config = Config::load(&global.config)?;
    // A tenant gets its key where it is; a new one where tenants are kept.
    let is_there = config
        .tenants
        .tenants
        .iter()
        .any(|tenant| tenant.name == name);
    let (path, kind): (PathBuf, _) = match &config.server.tenants_file {
        Some(path) if !is_there => (path.clone(), TenantsIn::OwnFile),
        _ => (config.path.clone(), TenantsIn::Configuration),
    };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let key = new_key().context("the system has no random numbers")?;
    let edited = add_key(&text, &path, kind, name, KeyHash::of(key.as_bytes()))?;
    replace(&path, &edited).with_context(|| format!("cannot write {}", path.display()))?;
    output.status(format_args!(
        "added a key of {name} to {}; a running server takes it over on SIGHUP",
        path.display()
    ));
    output.status("the key is shown this once:");
    let added = Added {
        tenant: name,
        key: &key,
        file: &path,
    };
    output.result(&added, || format!("{key}\n"))?;
    Ok(())
}
