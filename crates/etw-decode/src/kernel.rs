//! Kernel events: the records that etl-file reads, as names and values.

use etl_file::{Event, EventId, ImageAction, LifeEvent, ProviderGuid, Record};

use crate::text::{LONGEST_TEXT, shortened};
use crate::value::{Body, Field, Value};

/// The name of an event that has a class and no hook of the kernel's, or is the kernel's under a provider.
pub(crate) fn event_name(event: &Event<'_>) -> Option<&'static str> {
    match event.id {
        EventId::Class { guid: ProviderGuid::IMAGE_ID, opcode, .. } => match opcode {
            0 => Some("ImageID"),
            36 => Some("DbgID_RSDS"),
            37 => Some("DbgID_ILRSDS"),
            64 => Some("FileVersion"),
            _ => None,
        },
        EventId::Class { guid: ProviderGuid::SYSTEM_CONFIG_EX, opcode, .. } => match opcode {
            32 => Some("BuildInfo"),
            35 => Some("VolumeMapping"),
            37 => Some("DeviceFamily"),
            _ => None,
        },
        EventId::Provider(found) if found.provider == ProviderGuid::KERNEL_PROCESS => match found.id {
            5 => Some("ImageLoad"),
            6 => Some("ImageUnload"),
            _ => None,
        },
        _ => None,
    }
}

/// Reads an event; one of an unknown kind or version stays as it is.
pub(crate) fn decode<'e>(event: &Event<'e>) -> Body<'e> {
    match event.record() {
        Ok(Record::Other) => Body::unread(event.payload),
        Ok(record) => Body { fields: fields(record), ..Body::default() },
        Err(_) => Body { cut: true, ..Body::unread(event.payload) },
    }
}

fn text(text: String) -> Value<'static> {
    Value::Text(shortened(text.into(), LONGEST_TEXT, false).into_owned().into())
}

fn unsigned(number: impl Into<u64>) -> Value<'static> {
    Value::Unsigned(number.into())
}

fn hex(number: impl Into<u64>) -> Value<'static> {
    Value::Hex(number.into())
}

/// Fields with what they hold.
macro_rules! fields {
    ($($name:literal: $value:expr),* $(,)?) => { vec![$(Field::new($name, $value)),*] };
}

// Long: one arm for each kind of record.
fn fields(record: Record<'_>) -> Vec<Field<'_>> {
    match record {
        Record::Image(image) => {
            let mut fields = fields! { "action": image_action(image.action) };
            fields.extend(image.process.map(|process| Field::new("process", unsigned(process))));
            fields.extend(fields! {
                "base": Value::Address(image.base), "size": hex(image.size), "timestamp": hex(image.timestamp),
                "checksum": hex(image.checksum), "path": text(image.path),
            });
            fields
        }
        Record::KernelBase(base) => fields! { "base": Value::Address(base) },
        Record::ImageId(id) => fields! {
            "base": Value::Address(id.base), "size": hex(id.size), "process": unsigned(id.process),
            "timestamp": hex(id.timestamp), "name": text(id.original_name),
        },
        Record::DebugId(id) => fields! {
            "base": Value::Address(id.base), "process": unsigned(id.process), "guid": Value::Guid(id.guid),
            "age": unsigned(id.age), "name": text(id.name),
        },
        Record::FileVersion(version) => {
            const NAMES: [&str; 10] = [
                "OrigFileName",
                "FileDescription",
                "FileVersion",
                "BinFileVersion",
                "VerLanguage",
                "ProductName",
                "CompanyName",
                "ProductVersion",
                "FileId",
                "ProgramId",
            ];
            let mut fields = fields! { "size": hex(version.size), "timestamp": hex(version.timestamp) };
            let strings = NAMES.into_iter().zip(version.strings);
            fields.extend(strings.map(|(name, string)| Field::new(name, text(string))));
            fields
        }
        Record::BuildInfo(info) => fields! { "build_lab": text(info.build_lab), "product": text(info.product) },
        Record::BuildLab(lab) => fields! { "build_lab": text(lab) },
        Record::VolumeMapping(volume) => fields! { "nt_path": text(volume.nt_path), "dos_path": text(volume.dos_path) },
        Record::ConfigCpu(cpu) => fields! {
            "mhz": unsigned(cpu.mhz), "processors": unsigned(cpu.processors), "memory_mb": unsigned(cpu.memory_mb),
            "page_size": unsigned(cpu.page_size), "computer_name": text(cpu.computer_name), "domain": text(cpu.domain),
            "architecture": unsigned(cpu.architecture), "level": unsigned(cpu.level), "revision": hex(cpu.revision),
        },
        Record::ConfigProcessor(processor) => fields! {
            "index": unsigned(processor.index), "mhz": unsigned(processor.mhz), "name": text(processor.name),
            "identifier": text(processor.identifier), "vendor": text(processor.vendor),
        },
        Record::DeviceFamily(family) => fields! {
            "version": text(family.version.map(|part| part.to_string()).join(".")),
            "family": unsigned(family.family), "form": unsigned(family.form),
        },
        Record::Process(process) => {
            let mut fields = fields! {
                "pid": unsigned(process.pid), "parent": unsigned(process.parent), "session": unsigned(process.session),
                "name": text(process.name),
            };
            if !process.command_line.is_empty() {
                fields.push(Field::new("command_line", text(process.command_line)));
            }
            if process.life == LifeEvent::End {
                fields.push(Field::new("exit_status", Value::Status(process.exit_status as u32)));
            }
            fields.extend(process.directory_table_base.map(|base| Field::new("directory_table_base", hex(base))));
            fields
        }
        Record::Thread(thread) => {
            let mut fields = fields! { "pid": unsigned(thread.pid), "tid": unsigned(thread.tid) };
            if !thread.name.is_empty() {
                fields.push(Field::new("name", text(thread.name)));
            }
            fields
        }
        Record::ContextSwitch(switch) => fields! {
            "new_tid": unsigned(switch.new_thread), "old_tid": unsigned(switch.old_thread),
        },
        Record::SampledProfile(sample) => fields! {
            "address": Value::Address(sample.address), "tid": unsigned(sample.thread), "count": unsigned(sample.count),
        },
        Record::StackWalk(stack) => fields! {
            "event_time": Value::Signed(stack.event_time.0), "pid": unsigned(stack.process), "tid": unsigned(stack.thread),
            "frames": Value::List(stack.frames().map(Value::Address).collect()),
        },
        Record::LastBranches(branches) => {
            let branch = |(from, to)| Value::Struct(fields! { "from": Value::Address(from), "to": Value::Address(to) });
            fields! {
                "event_time": Value::Signed(branches.event_time.0), "pid": unsigned(branches.process),
                "tid": unsigned(branches.thread), "branches": Value::List(branches.branches().map(branch).collect()),
            }
        }
        Record::Ipt(ipt) => fields! {
            "event_time": Value::Signed(ipt.trigger_time.0), "pid": unsigned(ipt.process), "tid": unsigned(ipt.thread),
            "options": hex(ipt.options.0), "bytes": unsigned(ipt.data.len() as u64),
        },
        _ => Vec::new(),
    }
}

fn image_action(action: ImageAction) -> Value<'static> {
    Value::Text(
        match action {
            ImageAction::Load => "load",
            ImageAction::Unload => "unload",
            ImageAction::RundownStart => "rundown start",
            _ => "rundown end",
        }
        .into(),
    )
}
