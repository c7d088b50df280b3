//! When to ask again, and how long to wait before: a pure policy.
//!
//! Not retried is what another try cannot mend: a request the server refuses, a key, a quota, a context that is too
//! long. Sleeping, sending and telling the person happen in `client`.

use std::time::{Duration, SystemTime};

/// The first wait's ceiling; it doubles with each retry.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
const FIRST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// A server that asks for more patience than this is not waited for.
const LONGEST_OBEYED_WAIT: Duration = Duration::from_secs(120);

/// What went wrong, as far as the policy looks at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failure<'a> {
    /// The HTTP status; `None` when the connection failed, timed out or was cut.
    pub status: Option<u16>,
    /// The API's error code or, without one, its type.
    pub code: Option<&'a str>,
    /// The error's text; "try again in 20ms" may stand nowhere else.
    pub message: Option<&'a str>,
    pub advice: Advice,
}

/// What the server's headers say about another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advice {
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
    /// `retry-after-ms`, else `retry-after` in seconds or as a date.
    pub wait: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Retry { wait: Duration },
    GiveUp,
}

/// Decides after a failure. `retry` counts from 1: the retry that would come now. `random` is in 0..1.
pub fn decide(failure: &Failure<'_>, retry: u32, max_retries: u32, random: f64) -> Decision {
    if retry > max_retries || !may_help(failure) {
        return Decision::GiveUp;
    }
    let asked = failure.advice.wait.or_else(|| failure.message.and_then(wait_in_message));
    match asked.filter(|wait| !wait.is_zero()) {
        Some(wait) if wait > LONGEST_OBEYED_WAIT => Decision::GiveUp,
        Some(wait) => Decision::Retry { wait },
        None => Decision::Retry { wait: backoff(retry).mul_f64(random.clamp(0.0, 1.0)) },
    }
}

/// How long to wait before asking for the `round`-th time, from 1, whether a response is finished.
pub fn poll_pause(round: u32) -> Duration {
    doubled(FIRST_POLL, round).min(LONGEST_POLL)
}

/// The ceiling of a wait without advice.
fn backoff(retry: u32) -> Duration {
    doubled(FIRST_WAIT, retry).min(LONGEST_WAIT)
}

fn doubled(first: Duration, nth: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(nth.saturating_sub(1)))
}

fn may_help(failure: &Failure<'_>) -> bool {
    if failure.code.is_some_and(is_final) {
        return false;
    }
    match (failure.advice.should_retry, failure.status) {
        (Some(advised), _) => advised,
        (None, None) => true,
        (None, Some(status)) => matches!(status, 408 | 409 | 429) || status >= 500,
    }
}

/// Codes that stay true however often one asks.
fn is_final(code: &str) -> bool {
    const FINAL: [&str; 6] = [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "context_length_exceeded",
        "invalid_prompt",
        "invalid_api_key",
        "model_not_found",
    ];
    FINAL.contains(&code) || code.contains("_policy")
}

/// The HTTP status that an error inside a stream, or of a failed response, stands for.
pub fn status_of_code(code: Option<&str>) -> u16 {
    let Some(code) = code else { return 500 };
    if let Ok(status) = code.parse() {
        return status;
    }
    match code {
        _ if code.contains("rate_limit") || code == "too_many_requests" || code == "slow_down" => 429,
        _ if code.contains("server_error") || code.contains("overloaded") || code.contains("timeout") => 500,
        "api_error" | "internal_error" | "service_unavailable" => 500,
        _ => 400,
    }
}

impl Advice {
    /// Reads the headers through `header`, a look-up by lower-case name.
    pub fn of<'a>(header: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Advice {
        let milliseconds = header("retry-after-ms").and_then(|value| value.trim().parse::<f64>().ok());
        let wait = match milliseconds {
            Some(milliseconds) => duration(milliseconds / 1000.0),
            None => header("retry-after").and_then(|value| retry_after(value.trim(), now)),
        };
        let should_retry = match header("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        Advice { should_retry, wait }
    }
}

fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    match value.parse::<f64>() {
        Ok(seconds) => duration(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
    }
}

/// "… try again in 1m12.5s." or "retry after 20 seconds".
fn wait_in_message(message: &str) -> Option<Duration> {
    let lower = message.to_lowercase();
    let marks = ["try again in ", "retry after ", "retry in "];
    let rest = marks.iter().find_map(|mark| lower.split_once(mark))?.1;
    let mut rest = rest.trim_start();
    let mut total = None;
    while let Some((seconds, after)) = leading_duration(rest) {
        total = Some(total.unwrap_or(0.0) + seconds);
        rest = after;
    }
    duration(total?)
}

/// One number with its unit, in seconds, and what follows.
fn leading_duration(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let rest = text[end..].trim_start();
    let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let factor = match &rest[..unit_end] {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    Some((number * factor, &rest[unit_end..]))
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: f64 = 0.5;

    #[track_caller]
    fn check(failure: Failure<'_>, expected: Option<u64>) {
        let decided = match decide(&failure, 1, 4, RANDOM) {
            Decision::Retry { wait } => Some(wait.as_millis() as u64),
            Decision::GiveUp => None,
        };
        assert_eq!(decided, expected, "{failure:?}");
    }

    fn status(status: u16) -> Failure<'static> {
        Failure { status: Some(status), ..Failure::default() }
    }

    #[test]
    fn statuses_that_may_pass_are_retried_and_others_are_not() {
        check(Failure::default(), Some(250));
        for passing in [408, 409, 429, 500, 502, 503, 504, 529] {
            check(status(passing), Some(250));
        }
        for lasting in [300, 400, 401, 403, 404, 413, 422] {
            check(status(lasting), None);
        }
    }

    #[test]
    fn some_codes_are_final_whatever_the_status_says() {
        let codes =
            ["insufficient_quota", "context_length_exceeded", "invalid_prompt", "content_policy_violation"];
        for code in codes {
            check(Failure { code: Some(code), ..status(429) }, None);
            let advice = Advice { should_retry: Some(true), wait: None };
            check(Failure { code: Some(code), advice, ..status(500) }, None);
        }
        check(Failure { code: Some("rate_limit_exceeded"), ..status(429) }, Some(250));
    }

    #[test]
    fn the_servers_advice_wins_over_the_status() {
        let advised = |should_retry| Advice { should_retry: Some(should_retry), wait: None };
        check(Failure { advice: advised(true), ..status(400) }, Some(250));
        check(Failure { advice: advised(false), ..status(503) }, None);
        let wait = |seconds| Advice { should_retry: None, wait: Some(Duration::from_secs(seconds)) };
        check(Failure { advice: wait(3), ..status(429) }, Some(3000));
        check(Failure { advice: wait(120), ..status(429) }, Some(120_000));
        check(Failure { advice: wait(121), ..status(429) }, None);
        check(Failure { advice: wait(0), ..status(429) }, Some(250));
        check(Failure { advice: wait(3), ..status(401) }, None);
    }

    #[test]
    fn a_wait_named_in_the_message_is_kept() {
        let message = |message| Failure { message: Some(message), ..status(429) };
        check(message("Rate limit reached. Please try again in 20ms. Visit …"), Some(20));
        check(message("Please try again in 1.5s"), Some(1500));
        check(message("Please try again in 1m12.5s."), Some(72_500));
        check(message("Please try again in 6m0s."), None);
        check(message("Please retry after 20 seconds."), Some(20_000));
        check(message("please try again in a while"), Some(250));
        check(message("something else"), Some(250));
        let advice = Advice { should_retry: None, wait: Some(Duration::from_secs(2)) };
        check(Failure { advice, ..message("try again in 9s") }, Some(2000));
    }

    #[test]
    fn waits_double_up_to_a_ceiling_and_tries_end() {
        let wait = |retry, random| match decide(&Failure::default(), retry, 9, random) {
            Decision::Retry { wait } => wait.as_millis(),
            Decision::GiveUp => panic!("retry {retry} of 9 was refused"),
        };
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 9].map(|retry| wait(retry, 1.0)),
            [500, 1000, 2000, 4000, 8000, 8000, 8000]
        );
        assert_eq!(wait(3, 0.0), 0);
        assert_eq!(decide(&Failure::default(), 5, 4, RANDOM), Decision::GiveUp);
        assert_eq!(decide(&Failure::default(), 1, 0, RANDOM), Decision::GiveUp);
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
        assert_eq!([1, 2, 6, 7, 99].map(|round| poll_pause(round).as_millis()), [100, 200, 3200, 5000, 5000]);
    }

    #[test]
    fn headers_are_read_in_their_order_of_worth() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let check = |headers: &[(&str, &'static str)], should_retry, wait: Option<u64>| {
            let look_up =
                |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let expected = Advice { should_retry, wait: wait.map(Duration::from_millis) };
            assert_eq!(Advice::of(look_up, now), expected, "{headers:?}");
        };
        check(&[], None, None);
        check(&[("retry-after", "2")], None, Some(2000));
        check(&[("retry-after", "0.5")], None, Some(500));
        check(&[("retry-after-ms", "30"), ("retry-after", "2")], None, Some(30));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")], None, Some(3000));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], None, None);
        check(&[("retry-after", "-1")], None, None);
        check(&[("retry-after", "soon")], None, None);
        check(&[("retry-after-ms", "NaN")], None, None);
        check(&[("x-should-retry", "true")], Some(true), None);
        check(&[("x-should-retry", "false")], Some(false), None);
        check(&[("x-should-retry", "maybe")], None, None);
    }

    #[test]
    fn errors_without_a_status_stand_for_one() {
        let check = |code, expected| assert_eq!(status_of_code(code), expected, "{code:?}");
        check(None, 500);
        check(Some("server_error"), 500);
        check(Some("server_is_overloaded"), 500);
        check(Some("rate_limit_exceeded"), 429);
        check(Some("502"), 502);
        check(Some("invalid_prompt"), 400);
        check(Some("image_parse_error"), 400);
    }
}
