//! The clocks of simulated machines, of which one at a time runs on a thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What the clocks of a simulated machine say. Tokio's clock is its runtime's.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// The time of day, since the Unix epoch.
    pub since_epoch: Duration,
    /// The time since the machine was started, the time that it slept included.
    pub since_boot: Duration,
    /// The time that all machines have in common, by which a [`Network`](super::Network) between them works.
    pub common: Duration,
    /// The time that its disk takes for what it is asked.
    pub disk: Duration,
}

type Tell = Rc<dyn Fn() -> Clocks>;

thread_local! {
    static CLOCKS: RefCell<Option<Tell>> = const { RefCell::new(None) };
}

/// Has this thread ask these clocks from now on; the machine's own again where there are none.
pub fn set_clocks(tell: Option<Tell>) {
    CLOCKS.with(|clocks| *clocks.borrow_mut() = tell);
}

/// What the simulated clocks say, where this thread has some.
pub fn clocks() -> Option<Clocks> {
    let tell = CLOCKS.with(|clocks| clocks.borrow().clone())?;
    Some(tell())
}
