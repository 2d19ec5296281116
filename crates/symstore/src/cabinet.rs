//! Cabinets (MSCF, [MS-CAB]): what `makecab` and today's `compress.exe` make of a single file (`foo.sy_`), and what driver
//! packages come in.
//!
//! ```text
//! CFHEADER   signature, where the files are listed, how many folders and files
//! CFFOLDER…  where its data blocks begin, how many, how they are compressed (stored, MSZIP, LZX)
//! CFFILE…    size, offset in the unpacked folder, folder, name
//! CFDATA…    packed size, unpacked size, bytes
//! ```
//!
//! A folder is one compressed stream, in which files lie one after the other. The tables come from strangers, and
//! nothing in them keeps folders from sharing the same blocks or files from sharing the same bytes. So the tables are
//! checked first: no block belongs to two folders and no byte to two files, which makes the cost of a pass over the
//! cabinet proportional to its packed and unpacked size. The crate `cab` unpacks. It can only start a folder again for
//! every file, so it is shown a cabinet of one folder with one file, as long as the folder, and the files are cut out
//! of that stream here.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::stream::{Budget, LARGEST_UNPACKED, Metered, ReadSeek, invalid, read_limited};

/// The first bytes of a cabinet.
pub(crate) const CABINET: &[u8] = b"MSCF";

/// The most unpacked bytes in one data block ([MS-CAB] 2.4, CFDATA).
const LARGEST_BLOCK: u16 = 0x8000;
/// The compression method of a folder whose blocks are stored as they are ([MS-CAB] 2.2, CFFOLDER).
const STORED: u16 = 0;
/// The longest name ([MS-CAB] 2.3, CFFILE), with its terminator.
const LONGEST_NAME: u64 = 257;
/// Flags of the header: the cabinet has a predecessor, a successor, reserved areas.
const IN_A_SET: u16 = 3;
const RESERVE: u16 = 4;

/// A cabinet whose tables have been checked.
pub(crate) struct Cabinet<R> {
    source: R,
    /// Bytes of reserved area before the bytes of each data block.
    data_reserve: u8,
    folders: Vec<Folder>,
    members: Vec<Member>,
}

struct Folder {
    data_at: u32,
    blocks: u16,
    method: u16,
    /// Unpacked bytes.
    size: u32,
    /// Numbers of its members, in the order of their bytes.
    members: Vec<usize>,
}

/// A file in a cabinet.
pub(crate) struct Member {
    pub(crate) name: String,
    folder: usize,
    /// In the unpacked folder.
    offset: u64,
    size: u64,
}

impl<R: ReadSeek> Cabinet<R> {
    /// Reads and checks the tables.
    ///
    /// # Errors
    /// `InvalidData` when they are damaged, contradict each other, or belong to a set of cabinets.
    pub(crate) fn open(mut source: R) -> io::Result<Self> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let header: [u8; 36] = read_array(&mut source)?;
        if !header.starts_with(CABINET) {
            return Err(invalid("not a cabinet"));
        }
        let (files_at, folder_count, file_count, flags) =
            (u32_at(&header, 16), u16_at(&header, 26), u16_at(&header, 28), u16_at(&header, 30));
        if flags & IN_A_SET != 0 {
            return Err(invalid("the cabinet is one of a set; unpack the set into a directory"));
        }
        let (mut folder_reserve, mut data_reserve) = (0, 0);
        if flags & RESERVE != 0 {
            let sizes: [u8; 4] = read_array(&mut source)?;
            (folder_reserve, data_reserve) = (i64::from(sizes[2]), sizes[3]);
            source.seek(SeekFrom::Current(u16_at(&sizes, 0).into()))?;
        }
        let mut folders = Vec::new();
        for _ in 0..folder_count {
            let folder: [u8; 8] = read_array(&mut source)?;
            source.seek(SeekFrom::Current(folder_reserve))?;
            let (data_at, blocks, method) = (u32_at(&folder, 0), u16_at(&folder, 4), u16_at(&folder, 6));
            folders.push(Folder { data_at, blocks, method, size: 0, members: Vec::new() });
        }
        measure(&mut source, &mut folders, data_reserve, length)?;
        let members = members(&mut source, files_at, file_count, &mut folders)?;
        Ok(Self { source, data_reserve, folders, members })
    }

    /// How many files it has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The only file of a cabinet that was made of a single one.
    #[cfg(feature = "fetch")]
    pub(crate) fn single(&self) -> io::Result<usize> {
        match self.members.len() {
            1 => Ok(0),
            count => Err(invalid(format!("the cabinet has {count} files, expected is 1"))),
        }
    }

    /// Calls `visit` with the number and content of every file, folder by folder. Each folder is unpacked once.
    pub(crate) fn for_each_member(
        &mut self,
        budget: &Budget,
        mut visit: impl FnMut(usize, &Member, &mut dyn Read),
    ) -> io::Result<()> {
        let Self { source, data_reserve, folders, members } = self;
        for folder in folders.iter().filter(|folder| !folder.members.is_empty()) {
            with_folder(source, folder, *data_reserve, budget, |content| {
                let mut at = 0;
                for &number in &folder.members {
                    let member = &members[number];
                    skip(content, member.offset - at)?;
                    let mut rest = content.take(member.size);
                    visit(number, member, &mut rest);
                    at = member.offset + (member.size - rest.limit());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Gives `read` the content of one file.
    pub(crate) fn with_member<T>(
        &mut self,
        number: usize,
        budget: &Budget,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> io::Result<T> {
        let Self { source, data_reserve, folders, members } = self;
        let member = members.get(number).ok_or_else(|| invalid(format!("the cabinet has no file {number}")))?;
        with_folder(source, &folders[member.folder], *data_reserve, budget, |content| {
            skip(content, member.offset)?;
            read(&mut content.take(member.size))
        })
    }

    /// The bytes of one file.
    pub(crate) fn read_member(&mut self, number: usize, budget: &Budget) -> io::Result<Vec<u8>> {
        self.with_member(number, budget, |content| read_limited(content, LARGEST_UNPACKED))
    }
}

/// Walks over the data blocks of all folders and adds up what they unpack to. Field offsets as in [MS-CAB] 2.4.
fn measure(source: &mut impl ReadSeek, folders: &mut [Folder], data_reserve: u8, length: u64) -> io::Result<()> {
    let mut walked = 0;
    let mut extents = Vec::new();
    for folder in folders {
        let mut at = u64::from(folder.data_at);
        for _ in 0..folder.blocks {
            source.seek(SeekFrom::Start(at))?;
            let block: [u8; 8] = read_array(source)?;
            let (packed, unpacked) = (u16_at(&block, 4), u16_at(&block, 6));
            if unpacked > LARGEST_BLOCK || (folder.method & 0xf == STORED && packed != unpacked) {
                return Err(invalid(format!(
                    "CFDATA at {at:#x}: {packed} packed bytes for {unpacked} unpacked ones, allowed are {LARGEST_BLOCK}"
                )));
            }
            let size = 8 + u64::from(data_reserve) + u64::from(packed);
            at += size;
            walked += size;
            // Folders that share blocks would make this walk, and then the unpacking, as long as they like.
            if walked > length {
                return Err(invalid(format!(
                    "CFDATA at {at:#x}: the folders have more data than the cabinet has bytes"
                )));
            }
            // 65,535 blocks of 32 KiB are less than 2 GiB.
            folder.size += u32::from(unpacked);
        }
        extents.push(u64::from(folder.data_at)..at);
    }
    extents.retain(|extent| !extent.is_empty());
    extents.sort_by_key(|extent| extent.start);
    match extents.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => Err(invalid(format!("CFFOLDER: two folders share the data at {:#x}", pair[1].start))),
        None => Ok(()),
    }
}

/// Reads the list of files, and sorts them into their folders. Field offsets as in [MS-CAB] 2.3.
fn members(source: &mut impl ReadSeek, at: u32, count: u16, folders: &mut [Folder]) -> io::Result<Vec<Member>> {
    source.seek(SeekFrom::Start(at.into()))?;
    let mut source = io::BufReader::new(source);
    let mut members = Vec::new();
    for number in 0..usize::from(count) {
        let file: [u8; 16] = read_array(&mut source)?;
        let mut name = Vec::new();
        io::BufRead::read_until(&mut source.by_ref().take(LONGEST_NAME), 0, &mut name)?;
        name.pop_if(|last| *last == 0);
        let (size, offset, index) = (u32_at(&file, 0).into(), u32_at(&file, 4).into(), u16_at(&file, 8));
        let end: u64 = offset + size;
        let folder = folders.get_mut(usize::from(index));
        let Some(folder) = folder else {
            return Err(invalid(format!("CFFILE {number} is in folder {index}, which the cabinet does not have")));
        };
        if end > u64::from(folder.size) {
            let have = folder.size;
            return Err(invalid(format!(
                "CFFILE {number} ends at {end:#x} of folder {index}, which has {have:#x} bytes"
            )));
        }
        folder.members.push(number);
        let name = String::from_utf8_lossy(&name).into_owned();
        members.push(Member { name, folder: index.into(), offset, size });
    }
    for folder in folders {
        folder.members.sort_by_key(|&number| (members[number].offset, members[number].size));
        for pair in folder.members.windows(2) {
            let (a, b) = (&members[pair[0]], &members[pair[1]]);
            if a.offset + a.size > b.offset {
                return Err(invalid(format!(
                    "CFFILE {} and {}: the files share bytes of their folder",
                    pair[0], pair[1]
                )));
            }
        }
    }
    Ok(members)
}

/// Gives `read` the unpacked content of a folder.
///
/// The LZX decoder below `cab` takes match offsets from the file without a bound and, built with overflow checks, can
/// panic on them. That costs this one file and no more: everything that the panic passes through is thrown away.
fn with_folder<T>(
    source: &mut impl ReadSeek,
    folder: &Folder,
    data_reserve: u8,
    budget: &Budget,
    read: impl FnOnce(&mut Metered<'_, &mut dyn Read>) -> io::Result<T>,
) -> io::Result<T> {
    let head = single_folder(folder, data_reserve)?;
    let unpack = || {
        let mut cabinet = cab::Cabinet::new(Spliced { head, tail: source, at: 0 })?;
        let mut content = cabinet.read_file(NAME)?;
        read(&mut Metered::new(&mut content as &mut dyn Read, budget))
    };
    catch_unwind(AssertUnwindSafe(unpack)).unwrap_or_else(|_| Err(invalid("the cabinet's data is damaged")))
}

/// The name of the only file in the cabinet that `cab` is shown.
const NAME: &str = "a";

/// The tables of a cabinet with this folder alone and one file as long as it. They are put before the real cabinet, so
/// every offset moves by their length.
fn single_folder(folder: &Folder, data_reserve: u8) -> io::Result<Vec<u8>> {
    const FOLDER_AT: u32 = 36 + 4;
    const FILE_AT: u32 = FOLDER_AT + 8;
    const LENGTH: u32 = FILE_AT + 16 + NAME.len() as u32 + 1;
    let data_at = folder.data_at.checked_add(LENGTH).ok_or_else(|| invalid("a cabinet of more than 4 GiB"))?;
    let mut head = Vec::with_capacity(LENGTH as usize);
    head.extend_from_slice(CABINET);
    for word in [0, 0, 0, FILE_AT, 0] {
        head.extend_from_slice(&word.to_le_bytes());
    }
    // Version 1.3; one folder, one file; no set; then no reserved bytes but those of the data blocks.
    head.extend_from_slice(&[3, 1, 1, 0, 1, 0, RESERVE as u8, 0, 0, 0, 0, 0, 0, 0, 0, data_reserve]);
    head.extend_from_slice(&data_at.to_le_bytes());
    head.extend_from_slice(&folder.blocks.to_le_bytes());
    head.extend_from_slice(&folder.method.to_le_bytes());
    head.extend_from_slice(&folder.size.to_le_bytes());
    head.extend_from_slice(&[0; 12]);
    head.extend_from_slice(NAME.as_bytes());
    head.push(0);
    Ok(head)
}

/// Bytes before a source, as one source.
struct Spliced<'s, R> {
    head: Vec<u8>,
    tail: &'s mut R,
    at: u64,
}

impl<R: ReadSeek> Read for Spliced<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = match usize::try_from(self.at).ok().and_then(|at| self.head.get(at..)) {
            Some(mut rest) if !rest.is_empty() => rest.read(out)?,
            _ => {
                self.tail.seek(SeekFrom::Start(self.at - self.head.len() as u64))?;
                self.tail.read(out)?
            }
        };
        self.at += size as u64;
        Ok(size)
    }
}

impl<R> Seek for Spliced<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at = target.ok_or_else(|| invalid("an offset outside the cabinet"))?;
        Ok(self.at)
    }
}

fn skip(content: &mut impl Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut content.take(bytes), &mut io::sink())? {
        skipped if skipped == bytes => Ok(()),
        skipped => Err(invalid(format!("the folder's data ends {} bytes early", bytes - skipped))),
    }
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
