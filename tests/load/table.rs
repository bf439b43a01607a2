//! Prints figures as a table.

/// Two columns: what, and how much.
pub(crate) fn print(title: &str, rows: &[(&str, String)]) {
    println!("\n{title}");
    let width = rows.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    for (what, figure) in rows {
        println!("  {what:width$}  {figure:>14}");
    }
}

/// With thousands set apart.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many in so long, for each second.
pub(crate) fn per_second(n: u64, time: std::time::Duration) -> String {
    number((n as f64 / time.as_secs_f64()) as u64)
}
