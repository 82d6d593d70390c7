//! As much of Markdown as the documents use: headings, links, code.

use std::collections::{BTreeMap, BTreeSet};

/// A document, taken apart.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its first heading.
    pub title: Option<String>,
    /// What links to its headings say behind `#`.
    pub anchors: BTreeSet<String>,
    /// Where its links lead, in order.
    pub links: Vec<String>,
    /// What those links show.
    pub labels: Vec<String>,
    /// Lines of code blocks, continued ones put together, and pieces of code within text.
    pub code: Vec<String>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut anchors = BTreeMap::<String, usize>::new();
        let mut prose = String::new();
        let mut fenced = false;
        let mut indented = true; // as after an empty line
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced || (indented && line.starts_with("    ")) {
                document.add_code(line.trim());
                continue;
            } else if let Some(heading) = heading(line) {
                document.title.get_or_insert_with(|| heading.replace('`', ""));
                let anchor = anchor(heading);
                let before = anchors.entry(anchor.clone()).and_modify(|count| *count += 1).or_default();
                document.anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
            indented = line.is_empty();
        }
        document.add_prose(&prose);
        document
    }

    /// The command lines that the document shows, as words, without settings before them.
    pub(super) fn commands(&self) -> Vec<Vec<String>> {
        let lines = self.code.iter().filter(|line| !is_output(line));
        let commands = lines.flat_map(|line| shell(line.strip_prefix("$ ").unwrap_or(line)));
        commands.map(|words| words.into_iter().skip_while(|word| is_assignment(word)).collect()).collect()
    }

    fn add_code(&mut self, line: &str) {
        match self.code.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push_str(line);
            }
            _ => self.code.push(line.to_owned()),
        }
    }

    fn add_prose(&mut self, prose: &str) {
        for (index, piece) in prose.split('`').enumerate() {
            if index % 2 == 1 {
                self.code.push(piece.replace('\n', " "));
            }
        }
        // What is in code is no link, but a link may show code.
        let plain: String = prose
            .split('`')
            .enumerate()
            .map(|(index, piece)| if index % 2 == 1 { piece.replace(['[', ']', '('], "") } else { piece.to_owned() })
            .collect();
        let mut rest = plain.as_str();
        while let Some((before, after)) = rest.split_once("](") {
            let Some((target, behind)) = after.split_once(')') else { break };
            self.labels.push(before.rsplit('[').next().unwrap_or_default().replace('\n', " "));
            self.links.push(target.to_owned());
            rest = behind;
        }
    }
}

/// The text of a line that is a heading.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    (line.len() > text.len()).then(|| text.strip_prefix(' ')).flatten()
}

/// What GitHub and mdBook make of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// Columns are what a program printed: a command's words stand beside each other.
fn is_output(line: &str) -> bool {
    line.split(" #").next().unwrap_or_default().trim().contains("  ")
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// The commands of a line of shell, each as its words: comments, redirections and what follows a pipe's own
/// end are left out.
fn shell(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&') => {
                commands.last_mut().into_iter().for_each(|words| words.extend(word.take()));
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    for words in &mut commands {
        if let Some(redirection) = words.iter().position(|word| word.trim_start_matches('2').starts_with(['>', '<'])) {
            words.truncate(redirection);
        }
    }
    commands
}
