//! A crowd at an admin port until its input ends, and a probe ten times a second: how many were heard, and
//! how long the slowest took.
//!
//! ```text
//! connections ADDRESS IDLE SLOW
//! ```

use std::error::Error;
use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use test_support::crowd::{Crowd, probe};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: connections ADDRESS IDLE SLOW");
    let address = next()?.parse()?;
    let crowd = Crowd::gather(address, next()?.parse()?, next()?.parse()?)?;
    let (ended, until) = channel();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let (mut probes, mut failed, mut slowest) = (0, 0, Duration::ZERO);
    while until.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let begun = Instant::now();
        probes += 1;
        if !probe(address, "/livez").is_ok_and(|status| status == 200) {
            failed += 1;
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!(
        "{} connections opened, {probes} probes, {failed} not answered, the slowest in {} ms",
        crowd.opened(),
        slowest.as_millis()
    );
    Ok(())
}
