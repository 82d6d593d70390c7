//! What the operating system knows of this process, under the names that Prometheus' own clients
//! use, so that dashboards for any process show it.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::count;

/// This process, looked at when metrics are asked for. What a system does not tell is left out.
#[derive(Debug)]
pub(super) struct Process {
    started: Duration,
}

impl Process {
    /// The process as one that starts now.
    pub(super) fn starting() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "When this process started, since the Unix epoch";
        let start =
            encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), ConstGauge::<f64>::TYPE);
        ConstGauge::new(self.started.as_secs_f64()).encode(start?)?;

        if let Some(cpu) = cpu_time() {
            let help = "Time that processors have spent on this process";
            let seconds =
                encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), ConstCounter::<f64>::TYPE);
            ConstCounter::new(cpu.as_secs_f64()).encode(seconds?)?;
        }
        let numbers = [
            ("process_resident_memory", Some(&Unit::Bytes), "Memory that this process has in RAM", resident_bytes()),
            ("process_open_fds", None, "Files and sockets that this process has open", open_files()),
            ("process_max_fds", None, "How many it may have open", most_files()),
        ];
        for (name, unit, help, number) in numbers {
            if let Some(number) = number {
                let gauge = encoder.encode_descriptor(name, help, unit, ConstGauge::<u64>::TYPE);
                ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(gauge?)?;
            }
        }
        Ok(())
    }
}

/// The number of files and sockets that the process may have open; `None` where that has no limit.
pub(super) fn most_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Lets the process have as many files and sockets open as the system lets it ask for: the limit that it starts with,
/// 1024 as a rule, is for programs that wait by `select`.
pub fn raise_most_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where that is refused, the limit stays as it is; errors name it once it is reached.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

fn cpu_time() -> Option<Duration> {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(spent.tv_sec).ok()?, u32::try_from(spent.tv_nsec).ok()?))
}

/// Only Linux has this file.
fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS:     12345 kB` is the line that counts.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Less the one that looking takes.
fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some(count(entries.count()).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use crate::observe::Metrics;

    #[test]
    fn the_resident_size_is_found_among_the_others() {
        assert_eq!(super::resident("Name:\tx\nVmSize:\t  99 kB\nVmRSS:\t     12345 kB\n"), Some(12345 * 1024));
        assert_eq!(super::resident("VmRSS:\t12345 MB\n"), None);
        assert_eq!(super::resident(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(20) {
            std::hint::black_box(started);
        }
        let encoded = Metrics::new("1.2.3").encode();
        let value = |name: &str| -> f64 {
            let line = encoded.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing:\n{encoded}")).parse().unwrap()
        };
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.01);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
    }
}
