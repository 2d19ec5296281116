//! `DUMP_HEADER64`, which full, bitmap and triage dumps share.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

use crate::Error;
use crate::kernel::raw::{self, Header64};
use crate::kernel::{Anchors, Bugcheck, DumpType, Exception, Machine, Parts, System};

/// The first two pages of a kernel dump.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    raw: &'a Header64,
}

impl<'a> Header<'a> {
    /// Reads the header of a 64-bit kernel dump of any kind.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when the file is shorter than 0x2000 bytes or does not begin with "PAGEDU64".
    pub fn parse(file: &'a [u8]) -> Result<Header<'a>, Error> {
        let Ok((raw, _)) = Header64::ref_from_prefix(file) else {
            let found = format!("{:#x} bytes", file.len());
            return Err(Error::malformed(0, "DUMP_HEADER64", found, "at least 0x2000 bytes"));
        };
        let tags = (raw.signature.get(), raw.valid_dump.get());
        if tags != (raw::SIGNATURE, raw::VALID_DUMP64) {
            let found = format!("{:08x} {:08x}", tags.0, tags.1);
            let allowed = "\"PAGE\" \"DU64\", a 64-bit kernel dump";
            return Err(Error::malformed(0, "DUMP_HEADER64.Signature", found, allowed));
        }
        Ok(Header { raw })
    }

    /// The header as it lies in the file.
    pub fn raw(&self) -> &'a Header64 {
        self.raw
    }

    /// What kind of dump it is.
    pub fn dump_type(&self) -> DumpType {
        DumpType(self.raw.dump_type.get())
    }

    /// The parts that a triage dump says to have; filler in other dumps.
    pub fn parts(&self) -> Parts {
        Parts(self.raw.mini_dump_fields.get())
    }

    /// The machine.
    pub fn system(&self) -> System {
        let raw = self.raw;
        System {
            machine: Machine(raw.machine_image_type.get()),
            checked: raw.major_version.get() == 12,
            build: raw.minor_version.get(),
            processors: raw.number_processors.get(),
            product_type: raw.product_type.get(),
            suite_mask: raw.suite_mask.get(),
            time: raw.system_time.get(),
            up_time: raw.system_up_time.get(),
            boot_id: match raw.boot_id.get() {
                raw::SIGNATURE => 0,
                id => id,
            },
        }
    }

    /// Why it stopped.
    pub fn bugcheck(&self) -> Bugcheck {
        Bugcheck { code: self.raw.bug_check_code.get(), parameters: self.raw.bug_check_parameters.map(U64::get) }
    }

    /// Where a debugger sets out.
    pub fn anchors(&self) -> Anchors {
        Anchors {
            directory_table_base: self.raw.directory_table_base.get(),
            pfn_database: self.raw.pfn_data_base.get(),
            ps_loaded_module_list: self.raw.ps_loaded_module_list.get(),
            ps_active_process_head: self.raw.ps_active_process_head.get(),
            debugger_data_block: self.raw.kd_debugger_data_block.get(),
        }
    }

    /// The exception that the dump stands for.
    pub fn exception(&self) -> Exception {
        Exception::from_raw(&self.raw.exception)
    }

    /// The context's bytes: 1232 of `CONTEXT_AMD64`, 912 of `CONTEXT_ARM64`, the whole space for other machines.
    pub fn context(&self) -> &'a [u8] {
        let size = match Machine(self.raw.machine_image_type.get()) {
            Machine::AMD64 => 1232,
            Machine::ARM64 => 912,
            _ => raw::CONTEXT_SPACE,
        };
        &self.raw.context_record[..size]
    }

    /// The comment, up to its NUL; empty when Windows left filler.
    pub fn comment(&self) -> String {
        let bytes = &self.raw.comment;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        if bytes[..end].starts_with(b"PAGEPAGE") {
            return String::new();
        }
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

impl std::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("dump_type", &self.dump_type())
            .field("system", &self.system())
            .field("bugcheck", &self.bugcheck())
            .field("anchors", &self.anchors())
            .finish()
    }
}
