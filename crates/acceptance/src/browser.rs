//! The HTML report in a real browser: headless Chromium lays the pages out, runs their script, and says what came of it.
//!
//! A copy of each page gets a probe: a script that uses the page as a person would, measures it, and leaves its findings
//! as JSON in the document, which `--dump-dom` prints. Whatever the browser writes to its console is a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::outcome::Outcome;
use xtask::tools::{self, Found};
use xtask::{paths, program};

use crate::command;

/// What Chromium is called, and the distribution's package.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PACKAGE: &str = "chromium";

/// A start takes a second or two; a busy machine gets its time.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the probe does: sorts by size, filters, picks a module, measures.
const PROBE: &str = include_str!("browser/probe.js");

/// Fetches the browser, and judges nothing.
pub fn prepare() -> Result<()> {
    tools::need(NAMES, PACKAGE).map(drop)
}

/// `cargo xtask browser [--pictures]`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let pictures = match arguments {
        [] => false,
        [one] if one == "--pictures" => true,
        other => bail!("browser takes --pictures, {other:?} given"),
    };
    let browser = match browser()? {
        Ok(browser) => browser,
        Err(reason) => return Ok(Outcome::skip(format!("browser: {reason}"))),
    };
    let work = paths::work("browser")?;
    let (demo, report) = demo_page(&work)?;
    let mut cargo = paths::cargo();
    // The whole workspace, as in the step `tests`: a single package would be compiled anew with its own set of features.
    cargo.args(["test", "--locked", "--quiet", "--workspace", "--lib", "show::html"]);
    program::run(cargo.env("MKDUMP_SAMPLE_PAGES", &work))?;

    let mut outcome = Outcome::default();
    let mut check = |name: &str, result: Result<()>| match result {
        Ok(()) => {
            println!("ok      {name}");
            outcome.add_pass();
        }
        Err(error) => outcome.add_failure(format!("{name}: {error:#}")),
    };
    let mut backgrounds = BTreeMap::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        let facts = browser.probe(&demo, scheme, WIDE);
        if let Ok(facts) = &facts {
            backgrounds.insert(scheme.name(), facts["background"].to_string());
        }
        check(&format!("the demo's page, {}", scheme.name()), facts.and_then(|facts| is_the_report(&facts, &report)));
    }
    check("light and dark differ", {
        let differ = backgrounds.len() == 2 && backgrounds["light"] != backgrounds["dark"];
        differ.then_some(()).with_context(|| format!("backgrounds {backgrounds:?}"))
    });
    for (page, what) in [("system.html", "a whole system"), ("thousand.html", "a thousand modules")] {
        for window in [WIDE, NARROW] {
            let facts = browser.probe(&work.join(page), Scheme::Light, window);
            let result = facts.and_then(|facts| is_sound(&facts).and_then(|()| fits(&facts, window)));
            check(&format!("the page of {what} at {} pixels", window.0), result);
        }
    }
    let hostile = browser.probe(&work.join("hostile.html"), Scheme::Light, WIDE).and_then(|facts| {
        ensure!(facts["alerts"] == 0, "a name ran as a script");
        ensure!(facts["images"] == 0, "a name became an image");
        is_sound(&facts)
    });
    check("names that are markup stay text", hostile);
    for (page, file) in [("system.html", "report"), ("demo.html", "demo")] {
        for (scheme, suffix) in [(Scheme::Light, ""), (Scheme::Dark, "-dark")] {
            let picture = work.join(format!("{file}{suffix}.png"));
            check(&format!("{file}{suffix}.png"), browser.picture(&work.join(page), scheme, &picture));
            if pictures && file == "report" {
                std::fs::copy(&picture, paths::root().join("docs").join(format!("{file}{suffix}.png")))?;
            }
        }
    }
    Ok(outcome)
}

/// The page that `mkdump demo` writes, and the report of the same build as JSON.
fn demo_page(work: &Path) -> Result<(PathBuf, Value)> {
    let demo = work.join("demo");
    let page = work.join("demo.html");
    program::run(command::mkdump()?.args(["--quiet", "demo"]).arg(&demo))?;
    let mut mkdump = command::mkdump()?;
    mkdump.args(["--quiet", "--json", "--no-cache", "--etl"]);
    mkdump.arg(demo.join("demo.etl")).arg("--modules").arg(demo.join("modules"));
    mkdump.arg("--report").arg(&page).arg("-o").arg(work.join("demo.dmp"));
    let captured = program::capture(&mut mkdump, Duration::from_secs(600))?;
    ensure!(captured.success(), "mkdump --report: {}: {}", captured.ending(), captured.stderr);
    Ok((page, serde_json::from_str(&captured.stdout)?))
}

/// Windows: width and height in pixels.
const WIDE: (u32, u32) = (1280, 1640);
const NARROW: (u32, u32) = (500, 1640);

/// What holds for a page of many modules in a window.
fn fits(facts: &Value, window: (u32, u32)) -> Result<()> {
    let drawing = if window == WIDE { "wide" } else { "narrow" };
    ensure!(facts["drawings"] == serde_json::json!([drawing]), "the drawings {} are shown", facts["drawings"]);
    let label = facts["label"].as_f64().unwrap_or(0.0);
    ensure!(label >= 10.0, "the map's labels are {label} pixels high");
    // Tables scroll in themselves: the page stays one of a few screens.
    let height = facts["height"].as_u64().unwrap_or(u64::MAX);
    ensure!(height < 8_000, "the page is {height} pixels high");
    let costs: Vec<u64> = facts["costs"].as_array().context("no costs")?.iter().filter_map(Value::as_u64).collect();
    ensure!(costs.is_sorted_by(|a, b| a >= b), "what is missing is not in the order of its cost: {costs:?}");
    Ok(())
}

/// What holds for every page.
fn is_sound(facts: &Value) -> Result<()> {
    ensure!(facts["overflow"] == 0, "the page is wider than its window by {} pixels", facts["overflow"]);
    ensure!(facts["loaded"] == 0, "the page loaded {} other files", facts["loaded"]);
    ensure!(facts["sorted"] == true, "a click on Size did not sort the tables");
    ensure!(facts["above"] == true, "the search box is not at the top");
    if let Some(first) = facts["first"].as_str() {
        ensure!(facts["reached"] == true, "the Tab key does not reach each module of the map");
        let picked = facts["picked"].as_str().unwrap_or("");
        ensure!(picked.contains(first), "a module of the map does not say its numbers: {picked:?}");
    }
    ensure!(facts["filtered"] == true, "the filter leaves other rows than those of the name: {}", facts["left"]);
    let mut scale: Option<f64> = None;
    for module in facts["map"].as_array().context("no map")? {
        let (size, width) = (module["size"].as_f64().unwrap_or(0.0), module["width"].as_f64().unwrap_or(0.0));
        // Narrow ones are drawn wider, so that they can be seen.
        if width < 8.0 {
            continue;
        }
        let this = width / size;
        let first = *scale.get_or_insert(this);
        ensure!((this / first - 1.0).abs() < 0.05, "{module} is not to the scale of the others: {first} pixels a byte");
    }
    Ok(())
}

/// What holds for the demo's page, which shows this report.
fn is_the_report(facts: &Value, report: &Value) -> Result<()> {
    is_sound(facts)?;
    let text = facts["text"].as_str().context("no text")?;
    let shown: BTreeMap<&str, &str> = facts["rows"]
        .as_array()
        .context("no rows")?
        .iter()
        .filter_map(|row| Some((row["name"].as_str()?, row["status"].as_str()?)))
        .collect();
    let modules = report["modules"].as_array().context("no modules in the report")?;
    ensure!(shown.len() == modules.len(), "{} rows for {} modules", shown.len(), modules.len());
    let drawn = facts["map"].as_array().context("no map")?;
    for module in modules {
        let (name, status) = (module["name"].as_str().unwrap_or(""), module["status"].as_str().unwrap_or(""));
        ensure!(shown.get(name) == Some(&status), "{name} is {status}, and shown as {:?}", shown.get(name));
        let boxed = drawn.iter().find(|boxed| boxed["name"] == name).with_context(|| format!("{name} is not drawn"))?;
        ensure!(boxed["status"] == status, "{name} is {status}, and drawn as {}", boxed["status"]);
        let size = module["size"].as_str().and_then(|size| u64::from_str_radix(size.trim_start_matches("0x"), 16).ok());
        ensure!(boxed["size"].as_u64() == size, "{name}: {} bytes in the table, {size:?} in the report", boxed["size"]);
    }
    for words in ["Import optimization", "Packet addresses", "vendorflt.sys", "no file of that name", "windbg -z"] {
        ensure!(text.contains(words), "the page does not say {words:?}");
    }
    let optimized: u64 = modules.iter().filter_map(|module| module["sites"]["import"]["optimized"].as_u64()).sum();
    ensure!(
        optimized > 0 && text.contains(&optimized.to_string()),
        "the page does not say that {optimized} are direct"
    );
    ensure!(facts["heat"].as_u64() > Some(0), "no module is warm");
    for words in ["Snapshots", "Votes on import optimization", "SHA-256 of demo.etl", "mkdump 0."] {
        ensure!(text.contains(words), "the page does not say {words:?}");
    }
    let wanted = modules.len();
    ensure!(text.contains(&format!("of {wanted} modules are in the dump; 1 is missing.")), "no verdict");
    Ok(())
}

/// What the viewer prefers.
#[derive(Clone, Copy)]
enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Blink's own setting: 0 dark, 1 light (`mojom::PreferredColorScheme`).
    fn setting(self) -> &'static str {
        match self {
            Self::Light => "--blink-settings=preferredColorScheme=1",
            Self::Dark => "--blink-settings=preferredColorScheme=0",
        }
    }
}

struct Browser {
    program: String,
    profile: PathBuf,
}

fn browser() -> Result<Found<Browser>> {
    Ok(match tools::need(NAMES, PACKAGE)? {
        Ok(program) => Ok(Browser { program, profile: paths::work("browser/profile")? }),
        Err(reason) => Err(reason),
    })
}

impl Browser {
    fn command(&self, scheme: Scheme, (width, height): (u32, u32)) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"]);
        command.args(["--hide-scrollbars", "--enable-logging=stderr", scheme.setting()]);
        command.arg(format!("--window-size={width},{height}"));
        let mut profile = std::ffi::OsString::from("--user-data-dir=");
        profile.push(&self.profile);
        command.arg(profile);
        command
    }

    /// Loads a page with the probe in it; what the probe found.
    fn probe(&self, page: &Path, scheme: Scheme, window: (u32, u32)) -> Result<Value> {
        let html = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
        let copy = page.with_extension("probed.html");
        // In front: the page's own script must not have run before alert is watched.
        let (head, rest) = html.split_once("<head>").context("the page has no head")?;
        let watch = "<script>window.alerts = 0; window.alert = () => { window.alerts += 1; };</script>";
        let (body, end) = rest.rsplit_once("</body>").context("the page has no end")?;
        std::fs::write(&copy, format!("{head}<head>{watch}{body}<script>{PROBE}</script></body>{end}"))?;
        let mut command = self.command(scheme, window);
        let captured = program::capture(command.arg("--dump-dom").arg(address(&copy)?), PATIENCE)?;
        ensure!(captured.success(), "{}: {}\n{}", self.program, captured.ending(), captured.stderr);
        if let Some(line) = captured.stderr.lines().find(|line| line.contains("CONSOLE")) {
            bail!("the browser's console: {line}");
        }
        let found = captured.stdout.split_once("<script id=\"found\" type=\"application/json\">");
        let found = found.and_then(|(_, rest)| rest.split_once("</script>")).context("the probe left nothing")?;
        Ok(serde_json::from_str(found.0)?)
    }

    /// Takes a picture of the page's first screen.
    fn picture(&self, page: &Path, scheme: Scheme, picture: &Path) -> Result<()> {
        let _ = std::fs::remove_file(picture);
        let mut command = self.command(scheme, WIDE);
        let mut screenshot = std::ffi::OsString::from("--screenshot=");
        screenshot.push(picture);
        let captured = program::capture(command.arg(screenshot).arg(address(page)?), PATIENCE)?;
        let bytes = std::fs::read(picture).with_context(|| format!("no picture: {}", captured.stderr))?;
        ensure!(bytes.starts_with(b"\x89PNG"), "the picture is no PNG");
        // A page that stays blank makes a picture of a few kilobytes.
        ensure!(bytes.len() > 40_000, "the picture has {} bytes only", bytes.len());
        Ok(())
    }
}

fn address(page: &Path) -> Result<String> {
    Ok(format!("file://{}", page.canonicalize()?.display()))
}
