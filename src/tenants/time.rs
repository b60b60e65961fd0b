//! Dates as people write them.

use std::time::{Duration, SystemTime};

/// `2027-01-31`, or `2027-01-31T12:00:00Z`; UTC.
#[must_use]
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        28 + u64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if year < 1970 || day == 0 || day > length || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years = year - 1970;
    // Leap days between 1970 and the year.
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let days = years * 365 + leaps(year - 1) - leaps(1969)
        + lengths[..month as usize - 1].iter().sum::<u64>()
        + day
        - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let mut numbers = [0; N];
    if parts.len() != N {
        return None;
    }
    for ((part, number), digits) in parts.iter().zip(&mut numbers).zip(digits) {
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_utc() {
        let seconds = |text: &str| {
            parse_time(text).map(|time| {
                time.duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs()
            })
        };
        assert_eq!(seconds("1970-01-01"), Some(0));
        assert_eq!(seconds("2000-02-29T23:59:59Z"), Some(951_868_799));
        assert_eq!(seconds("2027-01-31"), Some(1_801_353_600));
        for wrong in [
            "",
            "2027",
            "2027-13-01",
            "2027-02-29",
            "1969-12-31",
            "2027-1-31",
            "2027-01-31T12:00:00",
            "27-01-31",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
