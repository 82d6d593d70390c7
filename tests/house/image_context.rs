//! What `docker build` is given: .dockerignore leaves out all but what the binary is made of, and cargo reads no
//! workspace that lacks a member.

use std::fs;

/// The paths that come along.
fn taken(ignored: &str) -> Vec<&str> {
    ignored.lines().filter_map(|line| line.strip_prefix('!')).collect()
}

/// The folders of the workspace's members: for `crates/*` that of all of them.
fn members(manifest: &str) -> Vec<&str> {
    let list = manifest.lines().find_map(|line| line.strip_prefix("members = ["));
    list.unwrap_or_default().split('"').skip(1).step_by(2).map(|member| member.trim_end_matches("/*")).collect()
}

/// The folders that are not given whole, of those that must be.
fn lacking<'a>(manifest: &'a str, ignored: &str) -> Vec<&'a str> {
    let taken = taken(ignored);
    let comes = |folder: &&str| {
        taken.iter().any(|path| folder.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    members(manifest).into_iter().filter(|folder| !comes(folder)).collect()
}

#[test]
fn every_member_is_in_the_images_context() {
    let (manifest, ignored) = (fs::read_to_string("Cargo.toml").unwrap(), fs::read_to_string(".dockerignore").unwrap());
    assert!(members(&manifest).len() > 2, "the members of the workspace are not found");
    assert_eq!(lacking(&manifest, &ignored), Vec::<&str>::new(), "add them to .dockerignore, behind a `!`");
    assert_eq!(lacking(&manifest, &ignored.replace("!tests/support\n", "")), ["tests/support"]);
}
