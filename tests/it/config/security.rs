//! TLS, SASL and secrets.

use std::path::Path;

use login_pipeline::config::{SecurityProtocol, Sources};

use super::{assert_round_trip, check, load, texts};

#[test]
fn a_pseudonym_needs_a_key_and_a_key_a_pseudonym() {
    let told = |pairs: &[(&str, &str)]| {
        let error = load(Sources { flags: texts(pairs), ..Sources::default() }).map(drop);
        error.map_err(|problems| problems.to_string()).err().unwrap_or_default()
    };
    assert!(told(&[("privacy.ip", "hmac_sha256")]).contains("privacy.key_file: hmac_sha256 needs a key"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = [("privacy.key_file", path.to_str().unwrap())];
    assert!(told(&key).contains("privacy.key_file: only hmac_sha256 uses this"));
    let hashed = [key[0], ("privacy.user_id", "hmac_sha256")];
    assert!(told(&hashed).contains("can't be read: "));
    std::fs::write(&path, "canary").unwrap();
    let short = told(&hashed);
    assert!(short.contains("holds a key of fewer than 16 bytes") && !short.contains("canary"), "{short}");
    std::fs::write(&path, "canary-0123456789").unwrap();
    assert_eq!(told(&hashed), "");
    for path in ["enrich.static", "enrich.static.region"] {
        assert!(told(&[(path, "x")]).contains("enrich.static: fields to add are set in the file only"));
    }
}

/// A CA's certificate and a client's certificate and key, in files of these names.
fn pem_files(folder: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("client.pem", certificate.pem()),
        ("client.key", key.serialize_pem()),
        ("other.key", ca_key.serialize_pem()),
        ("password", "canary-file\n".to_owned()),
        ("token", "canary.token".to_owned()),
        ("empty", String::new()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// What is wrong with a `[kafka]` of these lines, where `@` stands for a folder of PEM files.
fn told_of(kafka: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    pem_files(folder.path());
    let at = format!("{}/", folder.path().display());
    let file = folder.path().join("config.toml");
    std::fs::write(&file, format!("[kafka]\n{}", kafka.replace('@', &at))).unwrap();
    let problems = match load(Sources { file: Some(file), ..Sources::default() }) {
        Ok(config) => {
            let sasl = &config.kafka.security.sasl;
            // What is printed has no secrets to load.
            if sasl.password.is_none() && sasl.token_endpoint.client_secret.is_none() {
                assert_round_trip(&config);
            }
            return Vec::new();
        }
        Err(problems) => problems,
    };
    assert!(!problems.to_string().contains("canary"), "{problems}");
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.wrong).replace(&at, "@")).collect()
}

#[test]
fn tls_has_its_files_and_they_hold_what_they_must() {
    let nothing: [&str; 0] = [];
    assert_eq!(told_of("security_protocol = 'ssl'"), nothing);
    let all = "tls = { ca_file = '@ca.pem', cert_file = '@client.pem', key_file = '@client.key' }";
    assert_eq!(told_of(&format!("security_protocol = 'ssl'\n{all}")), nothing);
    for (tls, wrong) in [
        (
            "{ cert_file = '@client.pem' }",
            &["kafka.tls.key_file: a client certificate and its private key go together"][..],
        ),
        (
            "{ key_file = '@client.key' }",
            &["kafka.tls.cert_file: a client certificate and its private key go together"],
        ),
        (
            "{ ca_file = '@none', cert_file = '@client.pem', key_file = '@other.key' }",
            &[
                "kafka.tls.ca_file: @none: can't be read: No such file or directory (os error 2)",
                "kafka.tls.cert_file: @other.key: is not the key of the certificate in @client.pem",
            ],
        ),
        (
            "{ ca_file = '@password', cert_file = '@', key_file = '@client.key' }",
            &[
                "kafka.tls.ca_file: @password: holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it",
                "kafka.tls.cert_file: @: is not a file",
            ],
        ),
    ] {
        assert_eq!(told_of(&format!("security_protocol = 'ssl'\ntls = {tls}")), wrong, "{tls}");
    }
    assert_eq!(
        told_of("security_protocol = 'ssl'\nbrokers = ['a:1', '[::1]:2']"),
        ["kafka.brokers: a numeric IPv6 address can't be used with TLS"]
    );
}

#[test]
fn sasl_has_a_mechanism_and_what_it_needs() {
    for (protocol, sasl, wrong) in [
        ("sasl_ssl", "{ mechanism = 'PLAIN', username = 'u', password = 'canary' }", &[][..]),
        ("sasl_plaintext", "{ mechanism = 'SCRAM-SHA-256', username = 'u', password_file = '@password' }", &[]),
        ("sasl_plaintext", "{ mechanism = 'OAUTHBEARER', token_file = '@token', allow_plaintext = true }", &[]),
        ("sasl_ssl", "{}", &["kafka.sasl.mechanism: SASL needs a mechanism"]),
        (
            "sasl_ssl",
            "{ mechanism = 'SCRAM-SHA-512', token_file = '@token' }",
            &[
                "kafka.sasl.password: SCRAM-SHA-512 needs a password",
                "kafka.sasl.token_file: only OAUTHBEARER uses this",
                "kafka.sasl.username: SCRAM-SHA-512 needs a user",
            ],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'OAUTHBEARER', username = 'u', password = 'canary' }",
            &[
                "kafka.sasl.password: OAUTHBEARER does not use this",
                "kafka.sasl.token_file: OAUTHBEARER needs a token",
                "kafka.sasl.username: OAUTHBEARER does not use this",
            ],
        ),
        (
            "sasl_plaintext",
            "{ mechanism = 'PLAIN', username = 'u', password = 'canary', password_file = '@empty' }",
            &[
                "kafka.sasl.allow_plaintext: PLAIN over sasl_plaintext lets the network read the password or token",
                "kafka.sasl.password: the password is set twice",
            ],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'PLAIN', username = 'u', password_file = '@empty' }",
            &["kafka.sasl.password_file: @empty: holds no password"],
        ),
        (
            "sasl_ssl",
            "{ mechanism = 'OAUTHBEARER', token_file = '@ca.pem' }",
            &["kafka.sasl.token_file: @ca.pem: holds a control character, or several lines"],
        ),
        (
            "ssl",
            "{ mechanism = 'PLAIN', allow_plaintext = true }",
            &[
                "kafka.sasl.allow_plaintext: only sasl_ssl and sasl_plaintext use this",
                "kafka.sasl.mechanism: only sasl_ssl and sasl_plaintext use this",
            ],
        ),
    ] {
        let found = told_of(&format!("security_protocol = '{protocol}'\nsasl = {sasl}"));
        assert_eq!(found, wrong, "{protocol} {sasl}");
    }
}

#[test]
fn a_token_endpoint_has_a_client_and_its_secret() {
    const URL: &str = "token_endpoint_url = 'https://login.example/token'";
    const CLIENT: &str = "client_id = 'c', client_secret = 'canary'";
    for (keys, wrong) in [
        (format!("{URL}, {CLIENT}"), &[][..]),
        (
            format!(
                "{URL}, client_id = 'c', client_secret_file = '@password', scope = 'a b', token_endpoint_ca_file = '@ca.pem'"
            ),
            &[],
        ),
        (format!("{URL}, {CLIENT}, audience = 'kafka', extensions = ['logicalCluster=lkc-1', 'pool=a, b']"), &[]),
        (format!("{URL}, {CLIENT}, extensions = 'logicalCluster=lkc-1,pool=p'"), &[]),
        ("token_file = '@token', extensions = 'a=b'".to_owned(), &[]),
        (
            "token_file = '@token', audience = 'kafka'".to_owned(),
            &["kafka.sasl.audience: only a token endpoint uses this"],
        ),
        (format!("{URL}, {CLIENT}, extensions = 'auth=x'"), &["kafka.sasl.extensions: auth is the token's own name"]),
        (
            format!("{URL}, {CLIENT}, extensions = 'pool_id=x'"),
            &["kafka.sasl.extensions: an extension's name has letters only"],
        ),
        (format!("token_endpoint_url = 'http://127.0.0.1:1/token', {CLIENT}"), &[]),
        (format!("token_endpoint_url = 'http://login.example/token', {CLIENT}, allow_plaintext = true"), &[]),
        (
            URL.to_owned(),
            &[
                "kafka.sasl.client_id: a token endpoint gives tokens to a client that it knows",
                "kafka.sasl.client_secret: a token endpoint wants the client's secret",
            ],
        ),
        (
            format!("{URL}, {CLIENT}, client_secret_file = '@empty', token_file = '@token'"),
            &[
                "kafka.sasl.client_secret: the client's secret is set twice",
                "kafka.sasl.token_file: tokens come from a file or from an endpoint, and both are set",
            ],
        ),
        (
            format!("token_file = '@token', scope = 's', token_endpoint_ca_file = '@ca.pem', {CLIENT}"),
            &[
                "kafka.sasl.client_id: only a token endpoint uses this",
                "kafka.sasl.client_secret: only a token endpoint uses this",
                "kafka.sasl.scope: only a token endpoint uses this",
                "kafka.sasl.token_endpoint_ca_file: only a token endpoint uses this",
            ],
        ),
        (
            format!("token_endpoint_url = 'http://login.example/token', {CLIENT}"),
            &[
                "kafka.sasl.allow_plaintext: an http:// token endpoint lets the network read the client's secret and the token",
            ],
        ),
        (
            format!("token_endpoint_url = 'http://localhost/', token_endpoint_ca_file = '@ca.pem', {CLIENT}"),
            &["kafka.sasl.token_endpoint_ca_file: http has no certificates"],
        ),
        (
            format!("{URL}, client_id = 'c', client_secret_file = '@empty', token_endpoint_ca_file = '@client.key'"),
            &[
                "kafka.sasl.client_secret_file: @empty: holds no secret",
                "kafka.sasl.token_endpoint_ca_file: @client.key: holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it",
            ],
        ),
        (
            format!("token_endpoint_url = 'login.example:443', {CLIENT}"),
            &["kafka.sasl.token_endpoint_url: not a URL with http:// or https://"],
        ),
    ] {
        let sasl = format!("sasl = {{ mechanism = 'OAUTHBEARER', {keys} }}");
        let found = told_of(&format!("security_protocol = 'sasl_ssl'\n{sasl}"));
        assert_eq!(found, wrong, "{keys}");
    }
    let scram = format!("mechanism = 'SCRAM-SHA-512', username = 'u', password = 'canary', {URL}");
    assert_eq!(
        told_of(&format!("security_protocol = 'sasl_ssl'\nsasl = {{ {scram} }}")),
        ["kafka.sasl.token_endpoint_url: only OAUTHBEARER uses this"]
    );
    let scram = "mechanism = 'SCRAM-SHA-512', username = 'u', password = 'canary', extensions = 'a=b'";
    assert_eq!(
        told_of(&format!("security_protocol = 'sasl_ssl'\nsasl = {{ {scram} }}")),
        ["kafka.sasl.extensions: only OAUTHBEARER uses this"]
    );
    let url = vec![("kafka.sasl.token_endpoint_url".to_owned(), "https://u:canary@login.example/".to_owned())];
    let told = load(Sources { flags: url, ..Sources::default() }).unwrap_err().to_string();
    assert!(told.contains("a user name or password") && !told.contains("canary"), "{told}");
}

#[test]
fn a_secret_is_used_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let check = |toml: &str, args: &[&str], env: &[(&str, &str)]| {
        std::fs::write(&file, toml).unwrap();
        let output = check(&[&["--config", file.to_str().unwrap()], args].concat(), env);
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        (output.status.code(), shown)
    };
    let sasl = "kafka = { security_protocol = 'sasl_ssl', sasl = { mechanism = 'PLAIN', username = 'u' } }";
    let password = "LOGIN_PIPELINE__KAFKA__SASL__PASSWORD";

    let (code, shown) = check(sasl, &[], &[(password, "canary")]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("[kafka.sasl]\nmechanism = \"PLAIN\"\n"), "{shown}");
    assert!(shown.contains("\n# password = [redacted]\n"), "{shown}");
    let env = vec![(password.to_owned(), "canary".to_owned())];
    let config = load(Sources { file: Some(file.clone()), env, ..Sources::default() }).unwrap();
    assert_eq!(config.kafka.security.protocol, SecurityProtocol::SaslSsl);
    assert_eq!(config.kafka.security.sasl.password().unwrap().expose(), "canary");
    assert!(!format!("{config:?}{}", serde_json::to_string(&config).unwrap()).contains("canary"));

    for (args, env) in [
        (&["--kafka.sasl.password", "canary"][..], &[][..]),
        (&["--kafka.sasl.password=canary"], &[(password, "canary")]),
        (&["--kafka.sasl.passwort=canary"], &[]),
        (&[], &[(password, "canary\n")]),
        (&[], &[("LOGIN_PIPELINE__KAFKA__SASL__PASWORD", "canary")]),
        (&[], &[("LOGIN_PIPELINE_KAFKA_SASL_PASSWORD", "canary")]),
        (&[], &[("LOGIN_PIPELINE__KAFKA__SASL", "canary")]),
    ] {
        let (code, shown) = check(sasl, args, env);
        assert_eq!(code, Some(64), "{args:?} {env:?} {shown}");
        if args.first().is_some_and(|arg| arg.starts_with("--kafka.sasl.password")) {
            assert!(shown.contains("unexpected argument '--kafka.sasl.password' found"), "{shown}");
        }
    }
    let flags = vec![("kafka.sasl.password".to_owned(), "canary".to_owned())];
    let problems = load(Sources { flags, ..Sources::default() }).unwrap_err().to_string();
    assert!(problems.contains("a secret can't be a flag") && !problems.contains("canary"), "{problems}");
    for toml in [
        "[kafka.sasl]\npassword = canary",
        "[kafka.sasl]\npassword = ['canary']",
        "[kafka.sasl]\npassword = 'canary",
        "[kafka.sasl]\npassword = 'canary'\npassword = 'canary'",
        "[sasl]\npassword = 'canary'",
        "[kafka]\nsasl = 'canary'",
        "[kafka.sasl]\npassword = 'canary'\nsecurity_protocol = ",
    ] {
        let (code, shown) = check(toml, &[], &[]);
        assert_eq!(code, Some(64), "{toml} {shown}");
    }
}

#[test]
fn a_token_file_that_holds_none_is_a_problem_at_the_start() {
    let token = tempfile::NamedTempFile::new().unwrap();
    let path = token.path().to_str().unwrap();
    let load_it = || load(Sources { flags: texts(&[("admin.token_file", path)]), ..Sources::default() });
    let problems = load_it().unwrap_err().to_string();
    assert!(problems.contains("admin.token_file") && problems.contains("holds no token"), "{problems}");
    std::fs::write(token.path(), "open-sesame-open\n").unwrap();
    assert_eq!(load_it().unwrap().admin.token().unwrap().unwrap().expose(), "open-sesame-open");
    std::fs::write(token.path(), "canary").unwrap();
    let problems = load_it().unwrap_err().to_string();
    assert!(problems.contains("a token of fewer than 16 bytes") && !problems.contains("canary"), "{problems}");
}

/// What is wrong with an `[admin]` of these keys, where `@` stands for a folder of PEM files.
fn told_of_admin(keys: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    pem_files(folder.path());
    std::fs::write(folder.path().join("token"), "a token of 16 bytes or more").unwrap();
    let at = format!("{}/", folder.path().display());
    let flags = keys.iter().map(|(key, text)| (format!("admin.{key}"), text.replace('@', &at))).collect();
    match load(Sources { flags, ..Sources::default() }) {
        Ok(config) => {
            assert_round_trip(&config);
            Vec::new()
        }
        Err(problems) => {
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.wrong).replace(&at, "@")).collect()
        }
    }
}

#[test]
fn the_admin_ports_tls_has_its_files_and_its_token_crosses_no_network_in_the_clear() {
    let nothing: [&str; 0] = [];
    let (cert, key) = (("tls.cert_file", "@client.pem"), ("tls.key_file", "@client.key"));
    let (token, everywhere) = (("token_file", "@token"), ("listen", "0.0.0.0:9464"));
    let readable = "admin.allow_plaintext: the admin token would cross the network readable";
    for (keys, wrong) in [
        (&[cert, key][..], &nothing[..]),
        (&[cert, key, ("tls.client_ca_file", "@ca.pem")], &nothing),
        (&[cert], &["admin.tls.key_file: a certificate and its private key go together"]),
        (&[key], &["admin.tls.cert_file: a certificate and its private key go together"]),
        (
            &[cert, ("tls.key_file", "@other.key")],
            &["admin.tls.cert_file: @other.key: is not the key of the certificate in @client.pem"],
        ),
        (&[("tls.client_ca_file", "@ca.pem")], &["admin.tls.client_ca_file: only TLS asks clients for certificates"]),
        (
            &[cert, key, ("tls.client_ca_file", "@empty")],
            &[
                "admin.tls.client_ca_file: @empty: holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it",
            ],
        ),
        (&[token], &nothing),
        (&[token, ("listen", "127.8.0.1:1")], &nothing),
        (&[token, ("listen", "[::1]:1")], &nothing),
        (&[token, everywhere], &[readable]),
        (&[token, ("listen", "10.0.0.7:1")], &[readable]),
        (&[token, everywhere, ("allow_plaintext", "true")], &nothing),
        (&[token, everywhere, cert, key], &nothing),
        (&[everywhere], &nothing),
    ] {
        assert_eq!(told_of_admin(keys), wrong, "{keys:?}");
    }
}
