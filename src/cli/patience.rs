//! How long a command waits for brokers that don't answer.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use crate::config::Config;

/// Whoever sits at a terminal wants to know soon.
const AT_TERMINAL: Duration = Duration::from_secs(10);
/// A script can wait until a broker has restarted.
const ELSEWHERE: Duration = Duration::from_secs(60);

/// `--timeout`
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Patience {
    /// Give up where the brokers don't answer for so long [default: 10s at a terminal, 1m elsewhere]
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout)]
    timeout: Option<Duration>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Some(timeout).filter(|timeout| !timeout.is_zero()).ok_or_else(|| "can't be zero".to_owned())
}

impl Patience {
    /// The time that a question may take: the connection, the request and further attempts together.
    pub fn duration(self) -> Duration {
        let usual = if std::io::stderr().is_terminal() { AT_TERMINAL } else { ELSEWHERE };
        self.timeout.unwrap_or(usual)
    }

    /// Lets a connection and a request take no longer than that together: half of it each.
    pub fn limit(self, config: &mut Config) {
        let most = self.duration() / 2;
        let kafka = &mut config.kafka;
        kafka.request_timeout = kafka.request_timeout.min(most);
        kafka.connect_timeout = kafka.connect_timeout.min(most);
        // A broker may hold a fetch for that long, and must answer in time.
        config.source.max_wait = config.source.max_wait.min(kafka.request_timeout / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_and_a_request_take_no_longer() {
        let mut config = Config::default();
        let before = config.clone();
        Patience { timeout: Some(Duration::from_secs(3_600)) }.limit(&mut config);
        assert_eq!(config, before);
        Patience { timeout: Some(Duration::from_millis(100)) }.limit(&mut config);
        assert_eq!(config.kafka.request_timeout, Duration::from_millis(50));
        assert_eq!(config.kafka.connect_timeout, Duration::from_millis(50));
        assert_eq!(config.source.max_wait, Duration::from_millis(25));
        assert!(timeout("0s").is_err() && timeout("soon").is_err() && timeout("2s").is_ok());
    }
}
