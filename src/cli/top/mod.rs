//! `top`: what the page at `/` shows, at a terminal, of one instance or many.
//!
//! ```text
//! client ──► Answer (texts Sanitized) ──► Model ──► View ──┬─► draw: the live page
//!  a task an instance, each with a time and a size     └─► plain: once, for scripts
//! ```
//! Whatever an instance answers, or does not, is told in its row and asked again.

mod answer;
mod client;
mod draw;
mod model;
mod plain;
mod sanitize;
mod screen;
mod table;
mod target;
mod view;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use kafka_client::followed::File;
use kafka_client::pem;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::draw::Theme;
use self::model::Model;
use self::target::Target;
use super::health::Own;
use super::{EXIT_FORCED, Settings, health, runtime};
use crate::observe::logs::colours_are_wanted;

/// Why the page can't be shown, to be told as it is.
type Failure = Box<dyn std::error::Error>;

/// `top`
#[derive(Debug, Args)]
pub struct Top {
    /// The admin ports to ask: HOST:PORT, http://HOST:PORT or https://HOST:PORT [default: that of admin.listen]
    #[arg(value_name = "URL|HOST:PORT")]
    targets: Vec<Target>,

    /// Print a plain table and end, as where standard output is no terminal; exit code 1 where one does not answer
    #[arg(long)]
    pub once: bool,

    /// Print a JSON object a line for each instance, and end, as --once does
    #[arg(long)]
    pub json: bool,

    /// How often each is asked
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = pause)]
    pub interval: Duration,

    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = pause)]
    pub timeout: Duration,

    /// https: PEM file of the certificates that may sign theirs [default: public CAs, built in]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// https: PEM file of this client's certificate chain, where they want one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,

    /// https: PEM file of that certificate's private key
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

impl Top {
    /// Whom to ask, and how the ones with TLS.
    fn targets(&self) -> Result<(Vec<Target>, Arc<ClientConfig>), Failure> {
        if self.targets.is_empty() {
            let Own { address, tls } = health::own(&self.settings)?;
            let tls = tls?;
            let target = Target::from(address).over_tls(tls.is_some());
            return Ok((vec![target], tls.map_or_else(|| self.tls(), Ok)?));
        }
        Ok((self.targets.clone(), self.tls()?))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let read = |path: &Option<PathBuf>| {
            let read = |path: &PathBuf| Ok::<_, String>(File { path: path.clone(), bytes: pem::read(path)? });
            path.as_ref().map(read).transpose()
        };
        let (ca, cert, key) = (read(&self.ca_file)?, read(&self.cert_file)?, read(&self.key_file)?);
        let own = cert.as_ref().map(File::read).zip(key.as_ref().map(File::read));
        pem::client_config(ca.as_ref().map(File::read), own).map(Arc::new)
    }
}

/// A duration of 100 ms or more.
fn pause(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(pause) if pause >= Duration::from_millis(100) => Ok(pause),
        _ => Err("not a duration of 100ms or more".to_owned()),
    }
}

/// Shows the page until it is left, or writes it to `out` once where that is no terminal.
///
/// # Errors
/// Where the configuration is needed and wrong, or the terminal can't be used. An instance that does
/// not answer is no error.
pub fn run(args: &Top, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (targets, tls) = args.targets()?;
    let model = Model::new(targets.iter().map(Target::to_string), SystemTime::now());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let live = !args.once && !args.json && std::io::stdout().is_terminal() && !is_dumb;
    let ended = runtime::run(Some(1), |stop| async move {
        match live {
            true => watch(args, targets, tls, model, &stop).await,
            false => {
                stop.run_until_cancelled(once(args, targets, tls, model, out)).await.unwrap_or(Ok(ExitCode::FAILURE))
            }
        }
    })?;
    match ended {
        runtime::Ended::InOrder(result) => result,
        runtime::Ended::Forced => Ok(ExitCode::from(EXIT_FORCED)),
    }
}

/// Asks all at once, and writes what they said.
async fn once(
    args: &Top,
    targets: Vec<Target>,
    tls: Arc<ClientConfig>,
    mut model: Model,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let timeout = args.timeout;
    let asked = targets.iter().map(|target| client::read(target, &tls, timeout));
    for (instance, answer) in futures::future::join_all(asked).await.into_iter().enumerate() {
        model.heard(instance, answer, Instant::now());
    }
    match args.json {
        true => plain::write_json(out, &model)?,
        false => plain::write(out, &model)?,
    }
    Ok(if model.all_answer() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks each in a task of its own, again and again, while the page is shown.
async fn watch(
    args: &Top,
    targets: Vec<Target>,
    tls: Arc<ClientConfig>,
    model: Model,
    stop: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let (interval, timeout) = (args.interval, args.timeout);
    let (tell, heard) = mpsc::channel(16);
    // Dropped with the page: a task that is asking then has nobody to tell.
    let mut asking = JoinSet::new();
    for (instance, target) in targets.into_iter().enumerate() {
        let (tell, tls) = (tell.clone(), Arc::clone(&tls));
        asking.spawn(async move {
            while tell.send((instance, client::read(&target, &tls, timeout).await)).await.is_ok() {
                sleep(interval).await;
            }
        });
    }
    drop(tell);
    screen::show(model, heard, Theme { colours: colours_are_wanted() }, stop).await?;
    Ok(ExitCode::SUCCESS)
}
