//! What `docker build` is given: .dockerignore leaves out all but what the binary is made of, and cargo reads no
//! workspace that lacks a member.

use std::fs;

/// The paths that come along.
fn taken(ignored: &str) -> Vec<&str> {
    ignored.lines().filter_map(|line| line.strip_prefix('!')).collect()
}

/// The folders of the crates that Cargo.toml names.
fn crates(manifest: &str) -> Vec<&str> {
    manifest.lines().filter_map(|line| line.split_once("{ path = \"")?.1.split('"').next()).collect()
}

/// The folders that are not given whole, of those that must be.
fn lacking<'a>(manifest: &'a str, ignored: &str) -> Vec<&'a str> {
    let taken = taken(ignored);
    let comes = |folder: &&str| {
        taken.iter().any(|path| folder.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    crates(manifest).into_iter().filter(|folder| !comes(folder)).collect()
}

#[test]
fn every_crate_is_in_the_images_context() {
    let (manifest, ignored) = (fs::read_to_string("Cargo.toml").unwrap(), fs::read_to_string(".dockerignore").unwrap());
    assert!(crates(&manifest).len() > 5, "the crates of Cargo.toml are not found");
    assert_eq!(lacking(&manifest, &ignored), Vec::<&str>::new(), "add them to .dockerignore, behind a `!`");
    assert_eq!(lacking(&manifest, &ignored.replace("!tests/support\n", "")), ["tests/support"]);
}
