//! `bench overload`: what is left of a service's peak when twice as much is asked of it, with `shed` and without.
//!
//! Two shops run side by side, as `examples/shop` declares it, except that one address may sign in as often as it
//! likes; the second without `shed`. A login takes a core for a while, so `user` can do so many a second. Each round
//! finds the peak of both by clients that wait for their answers, then asks both in turns for once, twice and four
//! times the higher of the two, whatever becomes of it. Who is not answered within a second has gone away.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{
    Context, Row, build_release, examples,
    mesh::{complete, text},
    proxy::median,
};
use crate::process::Process;

const PACKAGES: [&str; 7] =
    ["bowline-cli", "shop-load", "shop-user", "shop-order", "shop-payment", "shop-bank", "shop-notify"];

const ROUNDS: usize = 3;
const ROUNDS_LONG: usize = 7;

/// Clients that sign in all the time, of which some number has the peak.
const CLIENTS: [u32; 4] = [1, 2, 4, 8];

/// How long each number of clients is tried, and how long a peak and an overload are measured, in seconds.
const TRIED: u32 = 2;
const PEAK: u32 = 5;
const ASKED: u32 = 8;

/// What is asked for, as multiples of the peak.
const TIMES: [u32; 3] = [1, 2, 4];

/// The least that is left of the peak at twice of it, in percent.
const BUDGET: f64 = 80.0;

/// The most that one in a hundred of those who are not turned away waits then, in milliseconds. Who signs in waits for a
/// second.
const P99_MAX_MS: f64 = 750.0;

/// A shop that runs.
struct Shop {
    name: &'static str,
    process: Process,
    gateway: String,
    /// How many clients have the most.
    clients: u32,
    /// Goodput of each round.
    peaks: Vec<f64>,
    /// Of each round, by the multiple of the peak.
    asked: BTreeMap<u32, Vec<Asked>>,
    _folder: tempfile::TempDir,
}

/// What came of so many times the peak.
#[derive(Debug, Clone, Copy)]
struct Asked {
    said: Said,
    /// Goodput in percent of the round's peak, the higher of both shops'.
    share: f64,
}

/// What the load program says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    sent: f64,
    good_per_second: f64,
    shed: f64,
    refused: f64,
    broken: f64,
    late: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<Vec<Row>> {
    build_release(context, &PACKAGES)?;
    let mut shops = [Shop::start(context, "shed", true)?, Shop::start(context, "without", false)?];
    for shop in &mut shops {
        shop.find_clients(context)?;
    }
    for round in 0..if context.is_long { ROUNDS_LONG } else { ROUNDS } {
        for shop in &mut shops {
            let said = login(context, &shop.gateway, "--clients", shop.clients, PEAK)?;
            shop.peaks.push(said.good_per_second);
        }
        let peak = shops.iter().map(|shop| shop.peaks[round]).fold(0.0, f64::max);
        ensure!(peak >= 1.0, "nobody could sign in");
        println!("round {}: peaks {:.1} and {:.1} logins/s", round + 1, shops[0].peaks[round], shops[1].peaks[round]);
        for times in TIMES {
            // Who goes first changes, so that a machine that slows down slows both.
            let [shed, without] = &mut shops;
            let pair = if round % 2 == 0 { [shed, without] } else { [without, shed] };
            for shop in pair {
                shop.ask(context, times, peak)?;
            }
        }
    }
    let rows = rows(&shops[0].figures(), &shops[1].figures());
    for shop in shops {
        shop.process.stop()?;
    }
    Ok(rows)
}

impl Shop {
    fn start(context: &Context<'_>, name: &'static str, is_shedding: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        copy(context, folder.path(), is_shedding)?;
        let (process, _api, gateway) = examples::start(context, folder.path(), &folder.path().join("data"))?;
        Ok(Self {
            name,
            process,
            gateway,
            clients: CLIENTS[0],
            peaks: Vec::new(),
            asked: BTreeMap::new(),
            _folder: folder,
        })
    }

    fn find_clients(&mut self, context: &Context<'_>) -> anyhow::Result<()> {
        let mut most = 0.0;
        for clients in CLIENTS {
            let good = login(context, &self.gateway, "--clients", clients, TRIED)?.good_per_second;
            println!("{}: {clients} clients, {good:.1} logins/s", self.name);
            if good > most {
                (most, self.clients) = (good, clients);
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are small and positive")]
    fn ask(&mut self, context: &Context<'_>, times: u32, peak: f64) -> anyhow::Result<()> {
        let rate = (peak * f64::from(times)).round() as u32;
        let said = login(context, &self.gateway, "--rate", rate, ASKED)?;
        let asked = Asked { said, share: said.good_per_second / peak * 100.0 };
        println!("{}: {times} x {}", self.name, asked.told());
        self.asked.entry(times).or_default().push(asked);
        Ok(())
    }

    fn figures(&self) -> Figures<'_> {
        Figures { peaks: &self.peaks, asked: &self.asked }
    }
}

impl Asked {
    fn told(&self) -> String {
        let Said { sent, good_per_second, shed, refused, broken, late, p50_ms, p99_ms } = self.said;
        format!(
            "({sent} sent) {good_per_second:.1} logins/s, {:.0} % of the peak, p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, \
             {shed} shed, {refused} refused otherwise, {broken} broken, {late} late",
            self.share
        )
    }
}

/// Has a load program sign in.
fn login(context: &Context<'_>, gateway: &str, how: &str, number: u32, seconds: u32) -> anyhow::Result<Said> {
    let mut command = Command::new(context.workspace.release_binary("shop-load"));
    command.args(["logins", "--gateway", gateway, how, &number.to_string(), "--seconds", &seconds.to_string()]);
    let output = complete(&mut command)?;
    serde_json::from_str(&output).with_context(|| format!("the load program said {output:?}"))
}

/// The shop's files, to be run as they are: its programs are built, and the limit of logins is lifted.
fn copy(context: &Context<'_>, folder: &Path, is_shedding: bool) -> anyhow::Result<()> {
    let (shop, target) = (context.workspace.root.join("examples/shop"), &context.workspace.target_dir);
    let system = fs::read_to_string(shop.join("bowline.toml"))?;
    fs::write(folder.join("bowline.toml"), changed(&system, text(target)?, is_shedding)?)?;
    fs::create_dir(folder.join("config"))?;
    fs::copy(shop.join("alerts.yaml"), folder.join("alerts.yaml"))?;
    for entry in fs::read_dir(shop.join("config"))? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join("config").join(entry.file_name()))?;
    }
    Ok(())
}

fn changed(system: &str, target: &str, is_shedding: bool) -> anyhow::Result<String> {
    let (mut lines, mut table, mut lifted, mut shed) = (Vec::new(), "", 0, 0);
    for line in system.lines() {
        if line.starts_with('[') || line.starts_with("name = ") {
            table = line;
        }
        let is_limit = table == "name = \"login\"" && line.starts_with("limit = ");
        let is_shed = line.starts_with("shed = ");
        lifted += usize::from(is_limit);
        shed += usize::from(is_shed);
        if !(is_limit || line.starts_with("build = ") || is_shed && !is_shedding) {
            lines.push(line.replace("${target}", target));
        }
    }
    ensure!(lifted == 1, "the route `login` of the shop has no limit in a line of its own");
    ensure!(shed > 0, "no service of the shop has a `shed` in a line of its own");
    Ok(lines.join("\n") + "\n")
}

/// What was measured of one shop.
struct Figures<'a> {
    peaks: &'a [f64],
    asked: &'a BTreeMap<u32, Vec<Asked>>,
}

impl Figures<'_> {
    fn of(&self, times: u32, pick: impl Fn(&Asked) -> f64) -> Vec<f64> {
        self.asked.get(&times).into_iter().flatten().map(pick).collect()
    }
}

fn rows(shed: &Figures<'_>, without: &Figures<'_>) -> Vec<Row> {
    let peak = Row::more_is_better("overload.peak", "logins answered at the peak", "/s", f64::NAN);
    let mut rows = vec![peak.against_rounds("without", shed.peaks, without.peaks)];
    for times in TIMES {
        let row = |what: &str, figure: &str| (format!("overload.x{times}.{what}"), format!("{figure}, {times} x peak"));
        let least = |what: &str, figure: &str, pick: fn(&Asked) -> f64| {
            let (id, figure) = row(what, figure);
            let row = Row::less_is_better(&id, &figure, "ms", median(shed.of(times, pick)));
            row.note(format!("without {:.0}", median(without.of(times, pick))))
        };
        let (id, figure) = row("share", "goodput by the peak");
        let share = Row::more_is_better(&id, &figure, "%", median(shed.of(times, |asked| asked.share)));
        let share = share.note(lost(shed, without, times));
        let p99 = least("p99", "99th percentile of what is not turned away", |asked| asked.said.p99_ms);
        rows.extend([
            if times == 2 { share.budget(BUDGET) } else { share },
            least("p50", "median of what is not turned away", |asked| asked.said.p50_ms),
            if times == 2 { p99.budget(P99_MAX_MS) } else { p99 },
        ]);
    }
    rows
}

/// What became of the rest, of a hundred that were sent.
fn lost(shed: &Figures<'_>, without: &Figures<'_>, times: u32) -> String {
    let of = |it: &Figures<'_>, count: fn(&Said) -> f64| {
        median(it.of(times, |asked| count(&asked.said) / asked.said.sent * 100.0))
    };
    let turned_away = |said: &Said| said.shed + said.refused + said.broken;
    format!(
        "{:.0} % turned away, {:.0} % late; without {:.0} % of the peak, {:.0} %, {:.0} %",
        of(shed, turned_away),
        of(shed, |said| said.late),
        median(without.of(times, |asked| asked.share)),
        of(without, turned_away),
        of(without, |said| said.late)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = include_str!("../../../examples/shop/bowline.toml");

    #[test]
    fn of_the_shop_only_what_is_in_the_way_is_changed() {
        let [shed, without] = [true, false].map(|is_shedding| changed(SHOP, "/built", is_shedding).unwrap());
        let count = |text: &str, what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!((count(SHOP, "limit = "), count(&shed, "limit = ")), (4, 3));
        assert!(count(&shed, "shed = ") > 0 && count(&without, "shed = ") == 0);
        assert!(shed.contains("run = \"/built/release/shop-user\"") && !shed.contains("${target}"));
        let parsed = |text: &str| bowline_model::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let sheds = |text: &str| parsed(text).services.iter().filter(|service| service.shed.is_some()).count();
        assert_eq!([SHOP, &*shed, &*without].map(sheds), [2, 2, 0]);
        assert_eq!(parsed(&shed).table.routes.len(), parsed(SHOP).table.routes.len());
        assert!(changed(&without, "/built", true).is_err(), "nothing would be measured");
    }

    #[test]
    fn the_share_of_twice_the_peak_has_the_budget() {
        let said = |good| Said {
            sent: 800.0,
            good_per_second: good,
            shed: 300.0,
            refused: 20.0,
            broken: 0.0,
            late: 8.0,
            p50_ms: 90.0,
            p99_ms: 400.0,
        };
        let asked = |share| TIMES.map(|times| (times, vec![Asked { said: said(share / 2.0), share }])).into();
        let (well, badly) = (asked(95.0), asked(40.0));
        let shed = Figures { peaks: &[50.0], asked: &well };
        let without = Figures { peaks: &[50.0], asked: &badly };
        let rows = rows(&shed, &without);
        let row = |id: &str| rows.iter().find(|row| row.id == id).unwrap();
        let twice = row("overload.x2.share");
        assert_eq!((twice.ours, twice.budget, twice.is_exceeded()), (95.0, Some(80.0), false));
        assert_eq!(twice.note, "40 % turned away, 1 % late; without 40 % of the peak, 40 %, 1 %");
        assert_eq!((row("overload.x4.share").budget, row("overload.peak").ratio), (None, Some(1.0)));
        assert!(super::rows(&without, &shed).iter().any(|row| row.id == "overload.x2.share" && row.is_exceeded()));
    }
}
