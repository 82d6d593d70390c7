//! The page in a real browser, by tools/page/browser.mjs; left out, in so many words, where Node 20 or Chromium is
//! not there. `make page` looks longer, and keeps the screenshots.
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a browser may be called.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// The browser, and the packages that drive it.
///
/// # Errors
/// What is missing.
fn browser(folder: &Path) -> Result<PathBuf, String> {
    let said = Command::new("node").arg("--version").output().map_err(|error| format!("node: {error}"))?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let major = version.strip_prefix('v').and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 20) {
        return Err(format!("node {version} is older than 20"));
    }
    let paths: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let named = env::var_os("CHROMIUM").map(PathBuf::from);
    let places =
        named.into_iter().chain(BROWSERS.iter().flat_map(|name| paths.iter().map(move |path| path.join(name))));
    let browser = places.into_iter().find(|place| place.is_file()).ok_or("no Chromium, nor CHROMIUM that names one")?;
    if !folder.join("node_modules/axe-core/axe.min.js").is_file() {
        let installed = Command::new("npm").args(["ci", "--silent", "--prefix"]).arg(folder).output();
        let installed = installed.map_err(|error| format!("npm: {error}"))?;
        if !installed.status.success() {
            return Err(format!("npm ci: {}", String::from_utf8_lossy(&installed.stderr)));
        }
    }
    Ok(browser)
}

#[test]
fn the_page_is_what_an_operator_needs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/page");
    let browser = match browser(&folder) {
        Ok(browser) => browser,
        Err(missing) => return eprintln!("left out: the page in a browser: {missing}"),
    };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    let looked = Command::new("node")
        .arg(folder.join("browser.mjs"))
        .args(["--brief", "--binary", env!("CARGO_BIN_EXE_login-pipeline"), "--out"])
        .arg(&out)
        .env("CHROMIUM", browser)
        .output()
        .unwrap();
    let said = [looked.stdout, looked.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(looked.status.success(), "screenshots are in {}\n{}\n{}", out.display(), said[0], said[1]);
}
