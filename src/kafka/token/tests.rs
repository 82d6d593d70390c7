use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn granted(token: &str, life: Duration) -> Granted {
    Granted { token: Secret::new(token), life }
}

fn failed(why: &str) -> TokenError {
    TokenError { url: "https://login.example/".to_owned(), why: why.to_owned(), class: ErrorClass::Transient }
}

fn text(told: Option<Result<Secret, TokenError>>) -> Option<Result<String, String>> {
    told.map(|told| told.map(|token| token.expose().to_owned()).map_err(|error| error.to_string()))
}

#[test]
fn a_token_is_asked_for_before_the_one_before_is_over() {
    let begun = Instant::now();
    let mut state = State::default();
    assert_eq!(text(state.settled(begun)), None);
    state.keep(granted("first", 100 * MINUTE), begun);
    for (minutes, settled, usable) in [(0, true, true), (74, true, true), (81, false, true), (95, false, false)] {
        let now = begun + minutes * MINUTE;
        assert_eq!(state.settled(now).is_some(), settled, "{minutes}");
        assert_eq!(state.usable(now).is_some(), usable, "{minutes}");
    }
    let next = state.next(begun);
    assert!(next >= begun + 75 * MINUTE && next <= begun + 80 * MINUTE);
}

#[test]
fn the_token_before_serves_while_the_endpoint_fails() {
    let begun = Instant::now();
    let mut state = State::default();
    let late = begun + 85 * MINUTE;
    state.keep(granted("first", 100 * MINUTE), begun);
    assert_eq!(text(Some(state.fail(failed("first"), late, MINUTE))), Some(Ok("first".to_owned())));
    assert_eq!(text(state.settled(late)), Some(Ok("first".to_owned())), "not asked before the pause is over");
    assert_eq!((state.next(late), text(state.settled(late + MINUTE))), (late + MINUTE, None));
    let over = begun + 95 * MINUTE;
    let told = "the token endpoint https://login.example/: second".to_owned();
    assert_eq!(text(Some(state.fail(failed("second"), over, MINUTE))), Some(Err(told.clone())));
    assert_eq!(text(state.settled(over)), Some(Err(told)), "whoever asks meanwhile hears the same");
    state.keep(granted("second", MINUTE), over + MINUTE);
    assert_eq!(text(state.settled(over + MINUTE)), Some(Ok("second".to_owned())));
    assert!(state.failure.is_none() && state.said.is_none());
}

#[test]
fn the_shortest_lives_are_no_busy_loop() {
    let begun = Instant::now();
    let mut state = State::default();
    state.keep(granted("short", Duration::from_millis(1)), begun);
    assert_eq!(state.next(begun), begun + SHORTEST);
    assert_eq!(text(state.settled(begun)), Some(Ok("short".to_owned())));
}
