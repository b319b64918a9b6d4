package web

import (
	"errors"
	"strconv"

	"pillarbox/cmd/internal/admin"
)

// domainList is what the page "domains" shows.
type domainList struct{ Rows []admin.DomainSummary }

func showDomains(r *request) (view, error) {
	rows, err := admin.DomainList.Do(r.Context(), r.service, struct{}{})
	return view{"domains", "Domains", domainList{rows}}, err
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
	Groups  []admin.GroupDetails
	Aliases []admin.Alias
	pages
}

func showGroups(r *request) (view, error) {
	groups, err := admin.GroupList.Do(r.Context(), r.service, "")
	if err != nil {
		return view{}, err
	}
	var l groupList
	for _, g := range groups {
		details, err := admin.GroupShow.Do(r.Context(), r.service, g.Group.String())
		if err != nil {
			return view{}, err
		}
		l.Groups = append(l.Groups, details)
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
}

func showDevices(r *request) (view, error) {
	rows, err := admin.DeviceList.Do(r.Context(), r.service, struct{}{})
	if err != nil {
		return view{}, err
	}
	refused, err := admin.DeviceSuggest.Do(r.Context(), r.service, "")
	return view{"devices", "Devices", deviceList{rows, refused, r.operator.MayAll(true)}}, err
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
