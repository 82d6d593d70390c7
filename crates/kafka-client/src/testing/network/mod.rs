//! A network in memory, whose connections can be cut, stalled and delayed.
//!
//! ```text
//! client ─► Host (a Transport) ── connect ──► Wire ◄── accept ── Listener ◄─ broker
//!                                              ▲
//!                                    Path: cut, cut_after, stall, resume, delay
//! ```
//! Addresses are texts, `host:port`, and exist while somebody listens. A [`Listener`] gives [`Endpoint`]s, which are read
//! and written like sockets: whatever serves one of those serves a client here. Time is tokio's: under a paused clock a
//! minute of silence takes no time, and a run is the same each time.

mod endpoint;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::lock::lock;
use crate::testing::clocks;
use crate::transport::{Connected, Transport};
use crate::{Cause, Options};

pub use endpoint::Endpoint;
use wire::{Side, Wire};

/// The network. Clones are the same network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
    /// Told when a path changes: who connects over a stalled one waits for that.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// When the network was made.
    begun_at: Instant,
    listeners: BTreeMap<String, mpsc::UnboundedSender<Endpoint>>,
    wires: BTreeMap<u64, Wire>,
    /// How many wires there ever were.
    begun: u64,
    rules: BTreeMap<Route, Rule>,
    /// Hosts that were connected to, each of which has an address in numbers by its place.
    hosts: Vec<String>,
}

/// From a client, or from all, to an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    from: Option<String>,
    to: String,
}

impl Route {
    fn is_of(&self, wire: &Wire) -> bool {
        self.to == wire.to && self.from.as_ref().is_none_or(|from| *from == wire.from)
    }
}

/// What becomes of bytes on a route.
#[derive(Debug, Clone, Copy, Default)]
struct Rule {
    is_stalled: bool,
    delay: Duration,
    /// So many bytes more reach the client, and then its connection breaks.
    cut_after: Option<usize>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            begun_at: Instant::now(),
            listeners: BTreeMap::new(),
            wires: BTreeMap::new(),
            begun: 0,
            rules: BTreeMap::new(),
            hosts: Vec::new(),
        }
    }
}

impl Network {
    /// A client of the network, by a name that its paths have. It is the transport of that client's [`Options`].
    pub fn host(&self, name: &str) -> Host {
        Host { network: self.clone(), name: name.to_owned() }
    }

    /// The options of a client of this network that begins at these addresses.
    pub fn options(&self, client: &str, bootstrap: &[&str]) -> Options {
        let bootstrap = bootstrap.iter().map(|address| (*address).to_owned()).collect();
        Options { bootstrap, ..Options::over(Arc::new(self.host(client))) }
    }

    /// Listens at an address, until the listener is dropped. Who listened there before hears of no more connections.
    pub fn listen(&self, address: &str) -> Listener {
        let (sender, incoming) = mpsc::unbounded_channel();
        self.state().listeners.insert(address.to_owned(), sender);
        Listener { incoming }
    }

    /// The path from all clients to an address.
    pub fn path(&self, to: &str) -> Path {
        Path { network: self.clone(), route: Route { from: None, to: to.to_owned() } }
    }

    /// The path from one client to an address.
    pub fn path_from(&self, client: &str, to: &str) -> Path {
        Path { network: self.clone(), route: Route { from: Some(client.to_owned()), to: to.to_owned() } }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn reach(&self, from: &str, to: &str) -> io::Result<Connected> {
        let delay = loop {
            let changed = self.changed.notified();
            let (is_stalled, delay) = self.state().conditions(from, to);
            if !is_stalled {
                break delay;
            }
            changed.await;
        };
        if !delay.is_zero() {
            sleep(delay * 2).await; // there and back
        }
        let mut state = self.state();
        let listener = state.listeners.get(to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (number, peer) = (state.begun, state.peer(to));
        state.begun += 1;
        state.wires.insert(number, Wire::new(from, to));
        drop(state);
        let [ours, theirs] = [Side::Client, Side::Broker].map(|side| Endpoint::new(self.clone(), number, side));
        // Dropped, an endpoint looks at the network itself.
        listener.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Connected { stream: Box::new(ours), peer })
    }
}

impl State {
    /// The network's time: since it was made, or what simulated machines have in common, whose own clocks differ.
    fn now(&self) -> Duration {
        clocks().map_or_else(|| self.begun_at.elapsed(), |clocks| clocks.common)
    }

    /// Whether nothing passes from a client to an address or back, and how long what passes takes each way.
    fn conditions(&self, from: &str, to: &str) -> (bool, Duration) {
        let rules = Self::routes(from, to).into_iter().filter_map(|route| self.rules.get(&route));
        rules.fold((false, Duration::ZERO), |(stalled, delay), rule| (stalled || rule.is_stalled, delay + rule.delay))
    }

    /// How many bytes may still reach a client before its connection breaks.
    fn budget(&self, from: &str, to: &str) -> Option<usize> {
        let rules = Self::routes(from, to).into_iter().filter_map(|route| self.rules.get(&route)?.cut_after);
        rules.min()
    }

    /// Takes so many bytes that have reached a client off what may; nothing is limited after the break.
    fn spend(&mut self, from: &str, to: &str, bytes: usize) {
        for route in Self::routes(from, to) {
            let Some(rule) = self.rules.get_mut(&route) else { continue };
            rule.cut_after = rule.cut_after.and_then(|left| left.checked_sub(bytes)).filter(|left| *left > 0);
        }
    }

    fn routes(from: &str, to: &str) -> [Route; 2] {
        [None, Some(from.to_owned())].map(|from| Route { from, to: to.to_owned() })
    }

    /// The address in numbers of a host, of a network that nobody has (RFC 5737).
    fn peer(&mut self, address: &str) -> SocketAddr {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let place = self.hosts.iter().position(|known| known == host).unwrap_or_else(|| {
            self.hosts.push(host.to_owned());
            self.hosts.len() - 1
        });
        let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)), port.parse().unwrap_or(0))
    }
}

/// A client's side of the network.
#[derive(Debug, Clone)]
pub struct Host {
    network: Network,
    name: String,
}

impl Transport for Host {
    fn connect<'a>(&'a self, host: &'a str, port: u16, deadline: Duration) -> BoxFuture<'a, Result<Connected, Cause>> {
        async move {
            let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            match timeout(deadline, self.network.reach(&self.name, &to)).await {
                Ok(connected) => connected.map_err(|error| Cause::Connect(error.to_string())),
                Err(_) => {
                    let after = humantime::format_duration(deadline);
                    Err(Cause::Connect(format!("no connection within {after}")))
                }
            }
        }
        .boxed()
    }
}

/// A listener, by which a broker hears of connections to its address.
#[derive(Debug)]
pub struct Listener {
    incoming: mpsc::UnboundedReceiver<Endpoint>,
}

impl Listener {
    /// The broker's end of the next connection; `None` once another listens at the address.
    pub async fn accept(&mut self) -> Option<Endpoint> {
        self.incoming.recv().await
    }
}

/// The path between one client, or all, and an address. What it is told holds for connections that are open and for
/// those to come.
#[derive(Debug, Clone)]
pub struct Path {
    network: Network,
    route: Route,
}

impl Path {
    /// Breaks the connections that are open, on both sides: what was on its way is lost. Others can be opened. Returns
    /// how many broke.
    pub fn cut(&self) -> usize {
        let mut state = self.network.state();
        let mut broken = 0;
        for wire in state.wires.values_mut().filter(|wire| self.route.is_of(wire) && !wire.is_broken()) {
            wire.cut();
            broken += 1;
        }
        broken
    }

    /// Breaks a connection once so many bytes more have reached a client: in the middle of a response, say.
    pub fn cut_after(&self, bytes: usize) {
        self.change(|rule| rule.cut_after = Some(bytes));
    }

    /// Lets nothing pass either way, and no connection be opened. Both sides go on writing until buffers are full.
    pub fn stall(&self) {
        self.change(|rule| rule.is_stalled = true);
    }

    /// Ends a stall: what was written meanwhile arrives.
    pub fn resume(&self) {
        self.change(|rule| rule.is_stalled = false);
    }

    /// Lets what is written from now on take so long each way.
    pub fn delay(&self, delay: Duration) {
        self.change(|rule| rule.delay = delay);
    }

    /// The number of connections that are open.
    pub fn connections(&self) -> usize {
        let state = self.network.state();
        state.wires.values().filter(|wire| self.route.is_of(wire) && !wire.is_broken()).count()
    }

    fn change(&self, change: impl FnOnce(&mut Rule)) {
        let mut state = self.network.state();
        change(state.rules.entry(self.route.clone()).or_default());
        state.wires.values_mut().filter(|wire| self.route.is_of(wire)).for_each(Wire::wake);
        drop(state);
        self.network.changed.notify_waiters();
    }
}
