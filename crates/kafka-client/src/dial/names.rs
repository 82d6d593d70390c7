//! Names into addresses, by the system's resolver, which blocks: each name on a thread of its own, once at a time.
//!
//! A name server that does not answer keeps such a thread for up to half a minute. On tokio's own threads for what blocks
//! each of many partitions would take one with each attempt, until none is left for files. Here all who ask for a name
//! wait for the same answer, each for as long as it likes, and neither they nor the end of the process wait for the thread.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::watch;

use crate::lock::lock;

/// The most names that are looked up at a time.
const MOST: usize = 64;

type Found = Result<Vec<SocketAddr>, Arc<str>>;
type Answer = watch::Receiver<Option<Found>>;

/// The look-ups that have no answer yet.
static RUNNING: Mutex<BTreeMap<String, Answer>> = Mutex::new(BTreeMap::new());

/// The addresses of a host, of port 0, in the order that the system prefers. One in numbers is nobody's to look up.
pub(super) async fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, 0)]);
    }
    let mut answer = asked(host)?;
    let found = answer.wait_for(Option::is_some).await.map(|found| found.clone());
    match found {
        Ok(Some(Ok(addresses))) => Ok(addresses),
        Ok(Some(Err(why))) => Err(io::Error::other(why.to_string())),
        Ok(None) | Err(_) => Err(io::Error::other("the look-up of the name broke off")),
    }
}

/// Where the answer will be: that of a look-up which is under way, or of a new one.
fn asked(host: &str) -> io::Result<Answer> {
    let mut running = lock(&RUNNING);
    if let Some(answer) = running.get(host) {
        return Ok(answer.clone());
    }
    if running.len() >= MOST {
        return Err(io::Error::new(
            ErrorKind::WouldBlock,
            format!("the name server has not answered for {MOST} names"),
        ));
    }
    let (sender, answer) = watch::channel(None);
    let name = host.to_owned();
    thread::Builder::new().name("names".to_owned()).spawn(move || {
        let found = (&*name, 0).to_socket_addrs().map(Iterator::collect);
        lock(&RUNNING).remove(&name);
        sender.send_replace(Some(found.map_err(|error| error.to_string().into())));
    })?;
    // The thread can't have taken it out already: it waits for the lock.
    running.insert(host.to_owned(), answer.clone());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_numbers_become_addresses() {
        let found = look_up("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert_eq!(look_up("::1").await.unwrap(), ["[::1]:0".parse().unwrap()]);
        assert_eq!(look_up("10.0.0.7").await.unwrap(), ["10.0.0.7:0".parse().unwrap()]);
        assert!(look_up("no-such-host.invalid").await.is_err());
        assert!(lock(&RUNNING).get("localhost").is_none());
    }

    #[tokio::test]
    async fn a_name_server_that_hangs_keeps_one_thread_a_name_and_nobody_who_does_not_want_to_wait() {
        let (hanging, answer) = watch::channel(None);
        lock(&RUNNING).insert("hangs.test".to_owned(), answer);
        let waiting: Vec<_> = (0..1_000).map(|_| tokio::spawn(look_up("hangs.test"))).collect();
        let impatient = super::super::connect("hangs.test", 1, std::time::Duration::from_millis(20)).await;
        let error = impatient.unwrap_err().to_string();
        assert!(error.contains("the name server gives no answer within 20ms"), "{error}");
        hanging.send_replace(Some(Ok(vec!["10.0.0.1:0".parse().unwrap()])));
        for found in waiting {
            assert_eq!(found.await.unwrap().unwrap(), ["10.0.0.1:0".parse().unwrap()]);
        }
        lock(&RUNNING).remove("hangs.test");
    }
}
