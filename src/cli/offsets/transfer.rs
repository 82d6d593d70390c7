//! `offsets export` and `offsets import`: all offsets of the source topic as one JSON document, from
//! one store to another.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::change::{Change, Manner};
use super::log_ends::LogEnds;
use super::store::{Purpose, Store};
use super::{Context, ExportOffsets, Failure, ImportOffsets};
use crate::config::OffsetStoreKind;
use crate::record::Offset;
use crate::topic::TopicId;

/// What a document begins with; another version is another program's.
const FORMAT: &str = "login-pipeline offsets v1";

/// The offsets of one topic.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    topic: String,
    offsets: Vec<Line>,
}

/// One partition's offset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    partition: i32,
    next_offset: Offset,
    /// In hexadecimal.
    topic_id: Option<String>,
}

/// Writes the document, or nothing where one of the offsets can't be read.
pub(super) async fn export(args: &ExportOffsets, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let topic = &context.config.source.topic;
    let store = Store::open(&context.config, &context.cluster, Purpose::Look).await?;
    let partitions: Vec<i32> = match context.config.offsets.store {
        OffsetStoreKind::Group => {
            LogEnds::ask(&context.cluster, &context.config.source).await?.partitions.into_keys().collect()
        }
        OffsetStoreKind::File | OffsetStoreKind::Topic => Vec::new(), // they know themselves
    };
    let mut offsets = Vec::new();
    for (partition, stored) in store.list(topic, &partitions).await? {
        let stored = stored?;
        let topic_id = stored.topic_id.map(|id| id.to_string());
        offsets.push(Line { partition, next_offset: stored.next_offset, topic_id });
    }
    if offsets.is_empty() {
        return Err(format!("no offsets of {topic} are stored").into());
    }
    let count = offsets.len();
    let document = Document { format: FORMAT.to_owned(), topic: topic.to_owned(), offsets };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    match &args.to {
        None => out.write_all(text.as_bytes())?,
        Some(path) => {
            std::fs::write(path, text).map_err(|error| format!("can't write {}: {error}", path.display()))?;
            writeln!(out, "{count} offsets of {topic} are written to {}", path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Stores what a document says, all of it or, where anything speaks against it, nothing.
pub(super) async fn import(args: &ImportOffsets, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (topic, path) = (&context.config.source.topic, args.file.display());
    let manner = Manner { dry_run: args.dry_run, force: args.force };
    let text = std::fs::read_to_string(&args.file).map_err(|error| format!("can't read {path}: {error}"))?;
    let document: Document = serde_json::from_str(&text).map_err(|error| format!("{path} is no export: {error}"))?;
    let exported = document.check(topic).map_err(|error| format!("{path}: {error}"))?;
    let ends = manner.ends(context, true).await?;
    let topic_id = ends.as_ref().and_then(|ends| ends.topic_id);
    let id = exported.topic_id.or(topic_id);
    if id.zip(topic_id).is_some_and(|(exported, now)| exported != now) && !args.force {
        return Err(format!(
            "{topic} was deleted and recreated since {path} was written: its offsets are another log's; --force stores \
             them all the same"
        )
        .into());
    }
    let change = Change { topic_id: topic_id.or(exported.topic_id), to: exported.to };
    if let Some(ends) = &ends {
        for note in change.check(topic, ends, args.force)? {
            tell!("login-pipeline: {note}");
        }
    }
    let mut store = manner.open(context).await?;
    let partitions: Vec<i32> = change.to.keys().copied().collect();
    let stored = store.list(topic, &partitions).await?;
    change.apply(context, manner, &mut store, &stored, out).await?;
    Ok(ExitCode::SUCCESS)
}

impl Document {
    /// What it says of `topic`.
    fn check(self, topic: &str) -> Result<Change, String> {
        if self.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", self.format));
        }
        if self.topic != topic {
            return Err(format!("it has the offsets of {}, not of {topic} (source.topic)", self.topic));
        }
        if self.offsets.is_empty() {
            return Err("it holds no offsets".to_owned());
        }
        let mut change = Change { topic_id: None, to: BTreeMap::new() };
        for Line { partition, next_offset, topic_id } in self.offsets {
            if partition < 0 || next_offset < Offset(0) {
                return Err(format!("partition {partition} and offset {next_offset}: neither may be negative"));
            }
            if change.to.insert(partition, next_offset).is_some() {
                return Err(format!("it has partition {partition} twice"));
            }
            let id = topic_id.map(|id| id.parse::<TopicId>()).transpose();
            let id = id.map_err(|error| format!("partition {partition}: {error}"))?;
            if change.topic_id.zip(id).is_some_and(|(before, id)| before != id) {
                return Err("it has offsets of two topics of this name: one was deleted and recreated".to_owned());
            }
            change.topic_id = change.topic_id.or(id);
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offsets: &str) -> Result<BTreeMap<i32, Offset>, String> {
        let text = format!(r#"{{"format":"{FORMAT}","topic":"t","offsets":{offsets}}}"#);
        let document: Document = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        document.check("t").map(|change| change.to)
    }

    #[test]
    fn a_document_is_read_as_written() {
        let line = Line { partition: 3, next_offset: Offset(42), topic_id: Some(TopicId([7; 16]).to_string()) };
        let document = Document { format: FORMAT.to_owned(), topic: "t".to_owned(), offsets: vec![line] };
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
        let change = document.check("t").unwrap();
        assert_eq!((change.topic_id, change.to), (Some(TopicId([7; 16])), BTreeMap::from([(3, Offset(42))])));
    }

    #[test]
    fn whatever_speaks_against_a_document_is_told() {
        assert!(check(r#"[{"partition":0,"next_offset":5,"topic_id":null}]"#).is_ok());
        for (offsets, told) in [
            ("[]", "no offsets"),
            (r#"[{"partition":0,"next_offset":-5}]"#, "negative"),
            (r#"[{"partition":-1,"next_offset":5}]"#, "negative"),
            (r#"[{"partition":0,"next_offset":5},{"partition":0,"next_offset":6}]"#, "twice"),
            (r#"[{"partition":0,"next_offset":5,"topic_id":"07"}]"#, "hexadecimal"),
            (r#"[{"partition":0,"next_offset":5,"lag":0}]"#, "unknown field"),
            (r#"[{"partition":0}]"#, "missing field"),
        ] {
            let error = check(offsets).unwrap_err();
            assert!(error.contains(told), "{offsets}: {error}");
        }
        let ids = [[1; 16], [2; 16]].map(|id| TopicId(id).to_string());
        let two = ids.map(|id| format!(r#"{{"partition":{},"next_offset":5,"topic_id":"{id}"}}"#, &id[1..2]));
        assert!(check(&format!("[{}]", two.join(","))).unwrap_err().contains("two topics"));
        let other = Document { format: "x".to_owned(), topic: "t".to_owned(), offsets: Vec::new() };
        assert!(other.check("t").is_err_and(|error| error.contains("format")));
        let other = Document { format: FORMAT.to_owned(), topic: "u".to_owned(), offsets: Vec::new() };
        assert!(other.check("t").is_err_and(|error| error.contains("offsets of u")));
    }
}
