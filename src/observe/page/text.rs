//! Numbers, durations and texts as the page has them.

use std::fmt::{self, Display, Write};

use kafka_client::plain::Plain;

/// Any text, unable to be markup, within an element or a quoted attribute.
pub(in crate::observe) struct Text<T>(pub(in crate::observe) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            // Lines of the configuration, and what parts thousands.
            '\n' | '\u{202f}' => self.0.write_char(c),
            _ => write!(self.0, "{}", Plain(c)),
        })
    }
}

/// A number, where it is known.
pub(in crate::observe) fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "–".into(), |number| Number(number).to_string())
}

/// A duration, where it is known.
pub(in crate::observe) fn known_millis(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".into(), |ms| Millis(ms).to_string())
}

/// 1 234 567.
pub(in crate::observe) struct Number(pub(in crate::observe) u64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// So many of all, in percent: one decimal, and never 0 where there are some.
pub(in crate::observe) struct Percent {
    /// The part.
    pub(in crate::observe) of: u64,
    /// The whole.
    pub(in crate::observe) all: u64,
}

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, all } = *self;
        if all == 0 {
            return f.write_str("–");
        }
        let thousandths = (u128::from(of) * 1000 + u128::from(all) / 2) / u128::from(all);
        if thousandths == 0 && of > 0 {
            return f.write_str("< 0.1 %");
        }
        write!(f, "{}.{} %", thousandths / 10, thousandths % 10)
    }
}

/// Milliseconds in the largest fitting unit: 40 ms, 4.2 s, 12 min, 3 h.
pub(in crate::observe) struct Millis(pub(in crate::observe) u64);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, seconds) = (self.0, self.0 / 1000);
        match seconds {
            0 => write!(f, "{ms} ms"),
            1..10 => write!(f, "{seconds}.{} s", ms % 1000 / 100),
            10..120 => write!(f, "{seconds} s"),
            120..7_200 => write!(f, "{} min", seconds / 60),
            7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(Number(1_234_567).to_string().replace('\u{202f}', " "), "1 234 567");
        let percent = |of, all| Percent { of, all }.to_string();
        assert_eq!(
            [percent(102, 1_000), percent(1, 100_000), percent(0, 9), percent(0, 0)],
            ["10.2 %", "< 0.1 %", "0.0 %", "–"]
        );
        assert_eq!(percent(999_999, 1_000_000), "100.0 %");
        let times = [40, 4_250, 119_999, 720_000, 7_200_000, 259_200_000].map(|ms| Millis(ms).to_string());
        assert_eq!(times, ["40 ms", "4.2 s", "119 s", "12 min", "2 h", "3 days"]);
        assert_eq!(Text("<a href='x'>&\"").to_string(), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
