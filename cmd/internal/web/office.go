package web

import (
	"errors"
	"strconv"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
)

// domainList is what the page "domains" shows.
type domainList struct {
	Choice []admin.DomainSummary // of the forms
	Rows   []admin.DomainSummary
	pages
}

func showDomains(r *request) (view, error) {
	rows, err := admin.DomainList.Do(r.Context(), r.service, struct{}{})
	l := domainList{Choice: rows}
	l.Rows, l.pages = cut(r, rows)
	return view{"domains", "Domains", l}, err
}

func domainActs() map[string]act {
	return map[string]act{
		"add":       onDomain(admin.DomainAdd),
		"lock":      onDomain(admin.DomainLock),
		"unlock":    onDomain(admin.DomainUnlock),
		"catch-all": setCatchAll,
		"archive":   setDomainArchive,
		"footer":    setFooter,
		"remove":    dangerous(removeDomain),
	}
}

func onDomain(v admin.Verb[string, admin.Change]) act {
	return func(r *request) (outcome, error) {
		c, err := v.Do(r.Context(), r.service, r.field("domain"))
		return then("/domains", c, err)
	}
}

func setCatchAll(r *request) (outcome, error) {
	c, err := admin.DomainCatchAll.Do(r.Context(), r.service,
		admin.Setting{Name: r.field("domain"), Value: r.field("target")})
	return then("/domains", c, err)
}

// removeDomain removes an empty domain. One with mailboxes is refused, because a slip of the mouse
// must not take an office's mail.
func removeDomain(r *request) (outcome, error) {
	c, err := admin.DomainRemove.Do(r.Context(), r.service,
		admin.DomainToRemove{Name: r.field("domain"), Sure: r.sure()})
	return then("/domains", c, err)
}

// groupList is what the page "groups" shows.
type groupList struct {
	Groups     []shownGroup
	Aliases    []admin.Alias
	pages      // of the aliases
	GroupPages pages
}

// maxMembers is the number of members that the page shows of a group.
const maxMembers = 100

// shownGroup is a group with the first of its members.
type shownGroup struct {
	Group   addr.Address
	Members []addr.Address
	Accept  string
	Count   int // of all members
}

// More is the number of members that are not shown.
func (g shownGroup) More() int { return g.Count - len(g.Members) }

func showGroups(r *request) (view, error) {
	groups, err := admin.GroupList.Do(r.Context(), r.service, "")
	if err != nil {
		return view{}, err
	}
	var l groupList
	groups, l.GroupPages = cutBy(r, "groups", groups)
	for _, g := range groups {
		some := g.Members[:min(len(g.Members), maxMembers)]
		l.Groups = append(l.Groups, shownGroup{g.Group, some, g.Accept, len(g.Members)})
	}
	aliases, err := admin.AliasList.Do(r.Context(), r.service, "")
	l.Aliases, l.pages = cut(r, aliases)
	return view{"groups", "Groups and aliases", l}, err
}

func groupActs() map[string]act {
	return map[string]act{
		"add":           onGroup(admin.GroupAdd),
		"member-add":    onGroup(admin.GroupMemberAdd),
		"member-remove": onGroup(admin.GroupMemberRemove),
		"accept":        setGroupAccept,
		"remove":        removeGroup,
		"alias-add":     addAlias,
		"alias-remove":  removeAlias,
	}
}

func onGroup(v admin.Verb[admin.Members, admin.Change]) act {
	return func(r *request) (outcome, error) {
		c, err := v.Do(r.Context(), r.service,
			admin.Members{Name: r.field("group"), Members: addresses(r.PostFormValue("members"))})
		return then("/groups", c, err)
	}
}

func setGroupAccept(r *request) (outcome, error) {
	c, err := admin.GroupAccept.Do(r.Context(), r.service,
		admin.Setting{Name: r.field("group"), Value: r.field("accept")})
	return then("/groups", c, err)
}

func removeGroup(r *request) (outcome, error) {
	c, err := admin.GroupRemove.Do(r.Context(), r.service, r.field("group"))
	return then("/groups", c, err)
}

func addAlias(r *request) (outcome, error) {
	c, err := admin.AliasAdd.Do(r.Context(), r.service,
		admin.Setting{Name: r.field("alias"), Value: r.field("target")})
	return then("/groups", c, err)
}

func removeAlias(r *request) (outcome, error) {
	c, err := admin.AliasRemove.Do(r.Context(), r.service, r.field("alias"))
	return then("/groups", c, err)
}

// deviceList is what the page "devices" shows.
type deviceList struct {
	Rows     []admin.Device
	Refused  admin.Suggested
	MayAdmit bool
	pages
}

func showDevices(r *request) (view, error) {
	rows, err := admin.DeviceList.Do(r.Context(), r.service, struct{}{})
	if err != nil {
		return view{}, err
	}
	refused, err := admin.DeviceSuggest.Do(r.Context(), r.service, "")
	l := deviceList{Refused: refused, MayAdmit: r.operator.MayAll(true)}
	l.Rows, l.pages = cut(r, rows)
	return view{"devices", "Devices", l}, err
}

func deviceActs() map[string]act {
	return map[string]act{"add": addDevice, "admit": admitDevice, "remove": removeDevice}
}

func addDevice(r *request) (outcome, error) {
	perHour := 0
	if text := r.field("per_hour"); text != "" {
		var err error
		if perHour, err = strconv.Atoi(text); err != nil {
			return outcome{}, errors.New(r.words.T("%q is not a number.", text))
		}
	}
	c, err := admin.DeviceAdd.Do(r.Context(), r.service, admin.NewDevice{
		Name: r.field("name"), IPs: addresses(r.PostFormValue("addresses")),
		MaySendTo: r.field("may_send_to"), As: r.field("as"), PerHour: perHour,
		AllowPlaintext: r.PostFormValue("plaintext") != "",
	})
	return then("/devices", c, err)
}

// admitDevice admits a machine that was refused, by its address and a name.
func admitDevice(r *request) (outcome, error) {
	ip := r.field("address")
	suggested, err := admin.DeviceSuggest.Do(r.Context(), r.service, ip)
	if err != nil {
		return outcome{}, err
	}
	if suggested.Suggestion == nil { // no address was sent
		return outcome{}, errNoPage
	}
	c, err := admin.DeviceAdd.Do(r.Context(), r.service, admin.NewDevice{
		Name: suggested.Suggestion.Name, IPs: []string{ip}, MaySendTo: r.field("may_send_to"),
	})
	c.Warnings = append(c.Warnings, suggested.Suggestion.Warnings...)
	return then("/devices", c, err)
}

func removeDevice(r *request) (outcome, error) {
	c, err := admin.DeviceRemove.Do(r.Context(), r.service, r.field("name"))
	return then("/devices", c, err)
}
