//! A broker with a topic of three partitions, until Ctrl-C. The first fetches of one are refused, to see what a client does.
//!
//! ```text
//! cargo run -p kafka-sandbox --example broker
//! ```

use std::error::Error;

use kafka_sandbox::{Action, Api, Fault, Sandbox};

/// `NOT_LEADER_OR_FOLLOWER`.
const NOT_LEADER: i16 = 6;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start().await?;
    sandbox.create_topic("user-login", 3)?;
    sandbox.produce("user-login", 0, [("key", "value")])?;
    println!("listening at {}; end it with Ctrl-C", sandbox.bootstrap());

    // The first ten fetches of partition 1 fail.
    let fault = Fault::on(Api::Fetch).topic("user-login").partition(1).times(10);
    let handle = sandbox.fault(fault, Action::Error(NOT_LEADER));
    tokio::signal::ctrl_c().await?;
    println!("{} fetches came, {} were refused", sandbox.requests(Api::Fetch), handle.fired());
    Ok(())
}
