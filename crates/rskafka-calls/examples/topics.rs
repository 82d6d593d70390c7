//! Lists a broker's topics.
//!
//! ```text
//! cargo run -p rskafka-calls --example topics -- 127.0.0.1:9092
//! ```

use std::error::Error;

use rskafka::client::ClientBuilder;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let broker = std::env::args().nth(1).ok_or("usage: topics BROKER")?;
    let client = rskafka_calls::connect(ClientBuilder::new(vec![broker])).await?;
    for topic in rskafka_calls::list_topics(&client).await? {
        println!("{}: {} partitions", topic.name, topic.partitions.len());
    }
    Ok(())
}
