package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"pillarbox/cmd/internal/lastlogin"
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/dkim"
)

// newDamages returns a reporter that logs which files of a data directory cannot be read; nil
// without a log.
func newDamages(data string, log *slog.Logger) *durable.DamageReporter {
	if log == nil {
		return nil
	}
	return durable.NewDamageReporter(func(name string, err error) {
		path := filepath.Join(data, name)
		if err == nil {
			log.Info("settings file is readable again", "path", path)
			return
		}
		// Most errors begin with the name of the file, and some name their class.
		reason := strings.TrimPrefix(err.Error(), name+": ")
		hint := "repair it with an editor, or restore it from a backup; 'pillarbox admin check' finds all damaged files"
		if hinted, ok := errors.AsType[*HintError](OwnerError(data, err)); ok {
			reason, hint = hinted.Error(), hinted.Hint
		}
		log.Error("settings file cannot be read; its settings have no effect until it is repaired", "path", path,
			"reason", strings.TrimPrefix(reason, "damaged file: "), "hint", hint)
	})
}

// settings checks the settings files that belong to no single domain.
func (c *checker) settings() {
	o := c.office
	_, deviceErr := o.Devices.List()
	_, operatorErr := o.operators.list()
	_, versionErr := durable.DataVersion(o.Root)
	damaged := map[string]error{
		"devices.json": deviceErr, "srs.json": o.SRS.Check(), operatorsFile: operatorErr, durable.VersionFile: versionErr,
		watchedFile: o.loadWatched(new(watched)), lastlogin.File: o.LastLogins.Check(),
		absence.File: o.Answers.Check(),
	}
	for name, err := range damaged {
		if err != nil {
			c.damagedFile(name, err)
		}
	}
	for _, err := range dkim.Open(o.Root).Damaged() {
		c.damagedFile("", err)
	}
}

// SettingsFindings returns what CheckMail finds wrong in settings files outside the domains.
func (o *Service) SettingsFindings() []Finding {
	c := &checker{office: o, now: time.Now()}
	c.contain("data directory", c.settings)
	return c.report.Findings
}

// damagedFile reports a settings file that cannot be read. name may be "" if err names the file.
func (c *checker) damagedFile(name string, err error) {
	c.found(Finding{
		Where: "data directory", Problem: ProblemSettings, File: name, Text: strings.TrimPrefix(err.Error(), name+": "),
		Hint: fmt.Sprintf("repair the file (below %s) with an editor, or restore it from a backup", c.office.Root.Name()),
	})
}

// checkVersion returns an error for a data directory of a newer major version, which this release
// would damage.
func checkVersion(fsys durable.FS) error {
	version, err := durable.DataVersion(fsys)
	if err != nil || version.Major <= durable.CurrentVersion().Major {
		return nil // an unreadable version is reported by KeepVersion and by CheckMail
	}
	return Hint(fmt.Errorf("data directory: %w", &durable.NewerError{Version: version}),
		"start the release that wrote it, or restore the backup that was made before the upgrade")
}

// KeepVersion records the version of this release in the data directory. The server calls it when
// it starts. A damaged or newer version is only logged.
func (o *Service) KeepVersion() error {
	version, err := durable.DataVersion(o.Root)
	if damaged := err != nil; damaged || version.Newer(durable.CurrentVersion()) {
		o.damages.Report(durable.VersionFile, err)
		if !damaged && o.log != nil {
			o.log.Warn("a newer release wrote into the data directory; settings that this release does not know are kept, without effect",
				"version", version.String(), "known", durable.CurrentVersion().String())
		}
		return nil
	}
	if _, err := o.Root.Lstat(durable.VersionFile); !errors.Is(err, fs.ErrNotExist) && version == durable.CurrentVersion() {
		return err
	}
	return durable.WriteDataVersion(o.Root)
}
