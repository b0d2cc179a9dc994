"""listTemplates, registerTemplate, deleteTemplate."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, By, Free, Map, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ProjectId, ProjectList, Test
from csnode.api.parse import NO_ID, bad_value, merged
from csnode.api.reach import ALL, OF_OWNER, Scope, owner, within
from csnode.api.shelf import Listing
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Denied, Invalid
from csnode.model import rules
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.orders import DeleteTemplate as DeleteOrder
from csnode.model.orders import FetchTemplate
from csnode.model.template import ImageFormat, Template
from csnode.model.vm import Vm
from csnode.types import AccountId, DomainId, OsTypeId, TemplateId, ZoneId
from roles.api.views.template import TemplateView

FILTERS = (
    "featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "all",
)  # fmt: skip


@command(
    "listTemplates",
    answers=Answers.LIST,
    shows=TemplateView,
    java="org.apache.cloudstack.api.command.user.template.ListTemplatesCmd",
)
class ListTemplates(ProjectList):
    """Lists templates: the caller's own, those that all may use, or all."""

    shown: ClassVar[type[Shown]] = TemplateView

    template_filter: Annotated[str, About(", ".join(FILTERS))]
    id: Annotated[TemplateId | None, About("the id of the template")] = None
    ids: Annotated[tuple[TemplateId, ...] | None, About("the ids of templates")] = None
    name: Annotated[str | None, About("the name of the template"), By("name")] = None
    zone_id: Annotated[ZoneId | None, About("in this zone")] = None
    hypervisor: Annotated[str | None, About("for this hypervisor")] = None
    is_ready: Annotated[bool | None, About("ready or not"), By("ready")] = None
    show_unique: Annotated[bool, About("each once, in however many zones it is")] = False

    def scope(self, call: Call) -> Scope:
        del call
        return ALL  # the filter says whose

    def tests(self, call: Call) -> list[Test]:
        tests: list[Test] = [lambda row: not row.gone, self._filter(call)]
        if self.zone_id and self.zone_id != NO_ID:
            zone = self.zone_id
            tests.append(lambda row: row.zone in (None, zone))
        if self.hypervisor:
            hypervisor = self.hypervisor.lower()
            tests.append(lambda row: row.hypervisor.lower() == hypervisor)
        return tests

    def _filter(self, call: Call) -> Test:
        name, caller, view = self.template_filter.lower(), call.caller, call.view
        if name not in FILTERS:
            raise bad_value(call.asked.command, "templatefilter", self.template_filter)
        own = ProjectList.scope(self, call)
        admin = caller.rank is Rank.ROOT_ADMIN
        reach = caller.rank is Rank.DOMAIN_ADMIN

        def mine(row: Template) -> bool:
            if own.what in ("in", "under"):
                whole = own.what == "under"
                return within(view, row.domain, own.id) if whole else row.domain == own.id
            return own == ALL or row.account == own.id

        def usable(row: Template) -> bool:
            return admin or row.public or mine(row)

        if name == "all" and caller.rank is Rank.USER:
            raise Invalid("Filter all can be specified by admin only")
        filters: dict[str, Test] = {
            "featured": lambda row: row.featured and row.public,
            "self": mine,
            "selfexecutable": lambda row: mine(row) and row.ready,
            "sharedexecutable": lambda _: False,
            "executable": lambda row: row.ready and usable(row),
            "community": lambda row: row.public and not row.featured,
            "all": lambda row: admin or (reach and within(view, row.domain, caller.domain)),
        }
        return filters[name]


@command(
    "registerTemplate",
    answers=Answers.LIST,
    shows=TemplateView,
    event="TEMPLATE.CREATE",
    java="org.apache.cloudstack.api.command.user.template.RegisterTemplateCmd",
)
class RegisterTemplate(ApiCommand):
    """Makes an image known, and has it fetched."""

    name: Annotated[str, About("its name")]
    url: Annotated[str, About("where it is: http://, https:// or file://", length=2048)]
    format: Annotated[str, About("QCOW2 or RAW")]
    hypervisor: Annotated[str, About("KVM")]
    display_text: Annotated[str | None, About("its text", length=4096)] = None
    zone_id: Annotated[ZoneId | None, About("the zone it is for; -1: all")] = None
    zone_ids: Annotated[tuple[ZoneId, ...] | None, About("the zone it is for; -1: all")] = None
    os_type_id: Annotated[OsTypeId | None, About("its operating system")] = None
    checksum: Annotated[str | None, About("{SHA-256}hex, or hex alone")] = None
    account: Annotated[str | None, About("whose it is to be; goes with domainid")] = None
    domain_id: Annotated[DomainId | None, About("the domain of that account"), OF_OWNER] = None
    project_id: Annotated[ProjectId | None, About("the project it is for: there are none")] = None
    is_public: Annotated[bool, About("all may use it")] = False
    is_featured: Annotated[bool, About("recommended to all; root admins only")] = False
    is_extractable: Annotated[bool, About("it may be downloaded")] = False
    is_dynamically_scalable: Annotated[bool, About("machines may be resized as they run")] = False
    password_enabled: Annotated[bool, About("it lets its password be set")] = False
    sshkey_enabled: Annotated[bool, About("it takes ssh keys")] = False
    requires_hvm: Annotated[bool, About("it needs full virtualisation")] = True
    template_tag: Annotated[str | None, About("its tag")] = None
    details: Annotated[Map, About("free details"), Free("texts")] = ()

    async def run(self, call: Call) -> Listing | Template:
        account = owner(call.caller, call.view, self.account or "", self.domain_id)
        call.note(owner=account)
        form = self.format.upper()
        if form not in [*ImageFormat]:
            raise Invalid(f"format {self.format} is not supported; use {' or '.join(ImageFormat)}")
        if self.is_featured and call.caller.rank is not Rank.ROOT_ADMIN:
            raise Denied("only root admins may register a featured template")
        _check_url(self.url, call.caller.rank)
        rules.checksum(self.checksum or "")
        row = call.change.create(
            Template(
                id=call.new_id(),
                name=self.name,
                display_text=self.display_text or self.name,
                account=AccountId(account.id),
                domain=account.domain,
                zone=self._zone(),
                url=self.url,
                format=form,
                checksum=(self.checksum or "").strip(),
                hypervisor=self.hypervisor,
                os_type=self.os_type_id,
                public=self.is_public,
                featured=self.is_featured,
                extractable=self.is_extractable,
                password_enabled=self.password_enabled,
                sshkey_enabled=self.sshkey_enabled,
                requires_hvm=self.requires_hvm,
                dynamically_scalable=self.is_dynamically_scalable,
                details=merged(self.details),
                tag=self.template_tag or "",
                created=wall(),
            )
        )
        call.order(FetchTemplate(template=TemplateId(row.id)))
        return row

    def _zone(self) -> ZoneId | None:
        named = self.zone_ids or ((self.zone_id,) if self.zone_id else ())
        if self.zone_ids and self.zone_id:
            raise Invalid("zoneid and zoneids must not be given together")
        if len(named) > 1:
            raise Invalid("zoneids: a template is for one zone, or for all (-1)")
        if not named:
            raise Invalid("zoneid or zoneids must be given; -1 is all zones")
        return None if named[0] == NO_ID else named[0]


@command(
    "deleteTemplate",
    answers=Answers.JOB,
    event="TEMPLATE.DELETE",
    java="org.apache.cloudstack.api.command.user.template.DeleteTemplateCmd",
)
class DeleteTemplate(ApiCommand):
    """Deletes a template, unless machines were made from it: their disks lean on its image."""

    id: Annotated[TemplateId, About("the id of the template")]
    zone_id: Annotated[ZoneId | None, About("the zone: it goes from all")] = None
    forced: Annotated[bool, About("even so; machines still need it")] = False

    async def run(self, call: Call) -> Job:
        row = call.seen(Template, self.id)
        caller = call.caller
        if caller.rank is Rank.USER and row.account != caller.account:
            raise Denied(f"the template {row.name} belongs to another account")
        if caller.rank is Rank.DOMAIN_ADMIN and not within(call.view, row.domain, caller.domain):
            raise Denied(f"the template {row.name} belongs to another domain")
        using = sorted(vm.name for vm in call.view.by(Vm, "template", row.id))
        if using:
            names = ", ".join(using[:10]) + (", ..." if len(using) > 10 else "")
            raise Invalid(f"Unable to delete template {row.name}: machines use it: {names}")
        call.note(owner=call.view.maybe(Account, row.account))
        call.change.update(Template, row.id, revision=row.revision, gone=True)
        return call.order(DeleteOrder(template=self.id))


def _check_url(url: str, rank: Rank) -> None:
    if rules.image_url(url) == "file" and rank is not Rank.ROOT_ADMIN:
        raise Denied("only root admins may register a template from a file")
