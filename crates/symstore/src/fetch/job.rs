//! One file: which addresses are asked for it, and what becomes of what comes.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::address::without_password;
use super::client::{Attempt, Broken, Client, Failure};
use super::partial::{Form, Limits, Partial, create_new, remove};
use super::verify::{Verdict, verify};
use super::{FetchProgress, Outcome};
use crate::cabinet::Cabinet;
use crate::name::FileName;
use crate::scan::is_cut;
use crate::server::{FileKind, ServerFile, escape, url};
use crate::store::{Pointer, Store};
use crate::stream::{Budget, LARGEST_UNPACKED, magic, read_limited};
use crate::szdd::{SZDD, read_szdd};
use crate::wanted::Doubt;

/// The most bytes of a PDB; the largest public ones have about 1.5 GiB.
const LARGEST_PDB: u64 = 8 << 30;

/// One file and everything needed to get it.
pub(super) struct Job<'a> {
    pub(super) file: &'a ServerFile,
    pub(super) client: &'a Client<'a>,
    pub(super) store: &'a Store,
}

/// Where a file is asked for, and where it belongs.
struct Errand<'e> {
    server: &'e str,
    address: &'e str,
    form: Form,
    place: &'e Path,
    deadline: Instant,
}

/// A file that came, unpacked.
struct Arrived {
    partial: Partial,
    /// The same file, or what was unpacked from it.
    ready: PathBuf,
}

impl Job<'_> {
    /// Gets the file, unless it is there.
    pub(super) fn run(&self) -> Outcome {
        let place = self.store.place(self.file.name(), self.file.key());
        if place.is_file()
            && let Ok(Verdict::Right(doubts)) = verify(&place, self.file)
        {
            return Outcome::Present { path: place, doubts };
        }
        let deadline = self.client.deadline();
        // The best answer so far: a failure may be over tomorrow and a wrong file is worth reporting, so neither is
        // forgotten because another server does not have the file.
        let mut answer = Outcome::NotThere;
        for server in &self.client.options.servers {
            for name in self.file.names() {
                match self.ask(server, name, &place, deadline) {
                    Outcome::NotThere => {}
                    done @ (Outcome::Fetched { .. } | Outcome::Present { .. }) => return done,
                    other => {
                        let unreachable = matches!(other, Outcome::Unreachable { .. });
                        if answer == Outcome::NotThere {
                            answer = other;
                        }
                        if unreachable {
                            break;
                        }
                    }
                }
            }
        }
        answer
    }

    /// Asks a server under one name: for the file, the compressed file, and the pointer to it.
    fn ask(&self, server: &str, name: &FileName, place: &Path, deadline: Instant) -> Outcome {
        for (form, file) in [(Form::Plain, name.clone()), (Form::Compressed, name.compressed())] {
            let address = url(server, name, self.file.key(), &file);
            match self.take(&Errand { server, address: &address, form, place, deadline }) {
                Outcome::NotThere => {}
                done => return done,
            }
        }
        let base = server.trim_end_matches('/');
        let address = format!("{base}/{}/{}/file.ptr", escape(name.as_str()), self.file.key());
        let failed = |reason| Outcome::Failed { url: without_password(&address), reason };
        let text = match self.client.text(server, &address, deadline) {
            Ok(Some(text)) => text,
            Ok(None) => return Outcome::NotThere,
            Err(failure) => return outcome(server, &address, failure),
        };
        match Pointer::parse(&text) {
            Pointer::Path(path) => match relative(&path) {
                Some(below) => {
                    let form = if path.ends_with('_') { Form::Compressed } else { Form::Plain };
                    let address = format!("{base}/{below}");
                    self.take(&Errand { server, address: &address, form, place, deadline })
                }
                None => failed(format!("the server only says that the file is at {path:?}")),
            },
            Pointer::Message(message) => failed(format!("the server has a message instead: {message:?}")),
        }
    }

    /// Downloads one address, verifies, and puts in place.
    fn take(&self, errand: &Errand<'_>) -> Outcome {
        let address = without_password(errand.address);
        let discarded = |reason| Outcome::Discarded { url: address.clone(), reason };
        // A file that is right by its identity and damaged in its body is fetched once more from the start. If it
        // comes the same again, that is how the server has it.
        let mut first = true;
        loop {
            let arrived = match self.arrive(errand) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return Outcome::NotThere,
                Err(outcome) => return outcome,
            };
            match verify(&arrived.ready, self.file) {
                Ok(Verdict::Right(doubts)) => return arrived.keep(errand, doubts, None),
                Ok(Verdict::Wrong(reason)) => {
                    arrived.discard();
                    return discarded(reason);
                }
                Ok(Verdict::Damaged(_)) if first => arrived.discard(),
                // An image whose sections are not all there is of no use.
                Ok(Verdict::Damaged(what)) if self.is_image() && is_cut(&arrived.ready).unwrap_or(true) => {
                    arrived.discard();
                    return discarded(what);
                }
                Ok(Verdict::Damaged(what)) => return arrived.keep(errand, Vec::new(), Some(what)),
                Err(error) => {
                    arrived.discard();
                    return Outcome::Failed { url: address, reason: format!("it cannot be read back: {error}") };
                }
            }
            first = false;
        }
    }

    /// Downloads and unpacks; nothing if the server does not have the file.
    fn arrive(&self, errand: &Errand<'_>) -> Result<Option<Arrived>, Outcome> {
        let downloaded = self.download(errand);
        let Some(partial) = downloaded.map_err(|failure| outcome(errand.server, errand.address, failure))? else {
            return Ok(None);
        };
        let ready = match errand.form {
            Form::Plain => Ok(partial.path().to_owned()),
            Form::Compressed => unpack(partial.path(), self.largest()),
        };
        match ready {
            Ok(ready) => Ok(Some(Arrived { partial, ready })),
            Err(error) => {
                partial.discard();
                let url = without_password(errand.address);
                Err(Outcome::Discarded { url, reason: format!("it cannot be unpacked: {error}") })
            }
        }
    }

    /// Downloads to a temporary file beside the place, and goes on with what an earlier attempt or run has left there.
    fn download(&self, errand: &Errand<'_>) -> Result<Option<Partial>, Failure> {
        let Errand { server, address, form, place, deadline } = *errand;
        let limits = Limits { bytes: self.largest(), deadline };
        let mut partial = Partial::left_over(place, form, address);
        let found = self.client.persist(server, deadline, || {
            let range = partial.as_ref().and_then(Partial::range);
            let Some(response) = self.client.get(address, range.as_ref(), deadline)? else {
                return Ok(Attempt::NotThere);
            };
            let partial = match &mut partial {
                Some(partial) => partial,
                none => none.insert(Partial::create(place, form).map_err(|error| {
                    Broken::Final(format!("{}: cannot be written beside: {error}", place.display()))
                })?),
            };
            let before = partial.received();
            match partial.receive(address, response, range.is_some(), &limits, |received, total| {
                if let Some(progress) = self.client.options.progress {
                    progress(FetchProgress { file: self.file, received, total });
                }
            }) {
                Ok(()) => Ok(Attempt::Complete),
                Err(Broken::Passing(..)) if partial.gained(before) => Ok(Attempt::Part),
                Err(broken) => Err(broken),
            }
        });
        match (found, partial) {
            (Ok(true), Some(mut partial)) => match partial.complete() {
                Ok(()) => Ok(Some(partial)),
                Err(error) => Err(Failure::Other(format!("{}: {error}", place.display()))),
            },
            (Ok(_), _) => Ok(None),
            (Err(failure), Some(partial)) => {
                if !partial.is_resumable() {
                    partial.discard();
                }
                Err(failure)
            }
            (Err(failure), None) => Err(failure),
        }
    }

    fn is_image(&self) -> bool {
        matches!(self.file.kind(), FileKind::Image(_))
    }

    /// The most bytes that the file may have. An image's file has about as many as the image, and then symbols and
    /// signatures after it.
    fn largest(&self) -> u64 {
        match self.file.kind() {
            FileKind::Image(wanted) => match wanted.said_size() {
                Some(size) => (2 * u64::from(size) + (64 << 20)).min(LARGEST_UNPACKED),
                None => LARGEST_UNPACKED,
            },
            FileKind::Pdb(_) => LARGEST_PDB,
        }
    }
}

impl Arrived {
    /// Puts the file in its place.
    fn keep(self, errand: &Errand<'_>, doubts: Vec<Doubt>, damage: Option<String>) -> Outcome {
        let (url, path) = (without_password(errand.address), errand.place.to_owned());
        if let Err(error) = fs::rename(&self.ready, &path) {
            self.discard();
            return Outcome::Failed { url, reason: format!("{}: cannot be put in place: {error}", path.display()) };
        }
        self.partial.discard();
        Outcome::Fetched { path, url, doubts, damage }
    }

    fn discard(self) {
        remove(&self.ready);
        self.partial.discard();
    }
}

fn outcome(server: &str, address: &str, failure: Failure) -> Outcome {
    match failure {
        Failure::Unreachable(reason) => Outcome::Unreachable { server: without_password(server), reason },
        Failure::Other(reason) => Outcome::Failed { url: without_password(address), reason },
    }
}

/// Unpacks a cabinet or SZDD file beside itself, into a file that is not larger than `limit`.
fn unpack(path: &Path, limit: u64) -> io::Result<PathBuf> {
    let mut source = BufReader::new(File::open(path)?);
    let magic = magic(&mut source);
    source.seek(SeekFrom::Start(0))?;
    let mut target = path.as_os_str().to_owned();
    target.push(".unpacked");
    let target = PathBuf::from(target);
    let mut out = create_new(&target)?;
    let unpack = || {
        if magic.starts_with(SZDD) {
            return out.write_all(&read_limited(read_szdd(source)?.bytes.as_slice(), limit)?);
        }
        let mut cabinet = Cabinet::open(source)?;
        let member = cabinet.single()?;
        cabinet.with_member(member, &Budget::new(limit), |content| io::copy(content, &mut out).map(drop))
    };
    let done = unpack();
    if done.is_err() {
        remove(&target);
    }
    done.map(|()| target)
}

/// A pointer that stays on the server, as an escaped address below it; `None` for anything absolute.
fn relative(path: &str) -> Option<String> {
    let parts: Option<Vec<String>> =
        path.split(['/', '\\']).map(|part| FileName::new(part).ok().map(|name| escape(name.as_str()))).collect();
    parts.map(|parts| parts.join("/"))
}
