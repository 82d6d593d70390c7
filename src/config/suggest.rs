//! "Did you mean".

use super::key::Key;

/// The candidate most like `given`, if one is like enough to be meant.
pub(crate) fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    best(candidates.into_iter().map(|candidate| (alike(&given, &candidate.to_lowercase()), candidate)))
}

/// The key most likely meant by the unknown `path`: one spelled like it, or of the same name in
/// another section.
pub(super) fn closest_key<'k>(path: &str, keys: &'k [Key]) -> Option<&'k Key> {
    let path = path.to_lowercase();
    best(keys.iter().map(|key| (alike(&path, key.path).max(same_name(&path, key)), key)))
}

fn best<T>(scored: impl Iterator<Item = (f64, T)>) -> Option<T> {
    scored.filter(|(score, _)| *score >= 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

fn alike(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

/// High where the last parts are the same, or one holds the other within the same section.
fn same_name(path: &str, key: &Key) -> f64 {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let part_of = name.len() > 3 && (key.name().contains(name) || name.contains(key.name()));
    let base = if name == key.name() || (section == key.section() && part_of) { 0.7 } else { 0.0 };
    base + 0.2 * alike(path, key.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(closest("earlyest", ["earliest", "latest"]), Some("earliest"));
        assert_eq!(closest("scram-sha-265", ["PLAIN", "SCRAM-SHA-256"]), Some("SCRAM-SHA-256"));
        assert_eq!(closest("yes", ["earliest", "latest"]), None);
    }
}
