//! Reads events from standard input, one a line, and writes each as the pipeline would, or why not.
//!
//! ```text
//! cargo run -p login-event --example enrich < events.jsonl
//! ```

use std::error::Error;
use std::io::{self, BufRead, Write};

use login_event::{Enrichment, LoginEvent};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        match LoginEvent::parse(line.as_bytes()) {
            Ok(event) => {
                let mut written = Vec::new();
                let enrichment = Enrichment { processed_at: b"\"2023-09-12T00:45:51.042Z\"", latency_ms: 42 };
                event.write_enriched(&enrichment, &mut written);
                written.push(b'\n');
                out.write_all(&written)?;
            }
            Err(rejection) => writeln!(out, "{}: {}", rejection.reason.code(), rejection.message)?,
        }
    }
    Ok(())
}
