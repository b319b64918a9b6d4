package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"pillarbox/mailstore/durable"
	"pillarbox/smtp/dkim"
)

// newDamages writes into the log which files of a data directory cannot be read; without a log it is nil.
func newDamages(data string, log *slog.Logger) *durable.DamageReporter {
	if log == nil {
		return nil
	}
	return durable.NewDamageReporter(func(name string, err error) {
		path := filepath.Join(data, name)
		if err == nil {
			log.Info("file of settings can be read again", "path", path)
			return
		}
		// Errors begin with the name of the file mostly, and some name their class.
		reason := strings.TrimPrefix(err.Error(), name+": ")
		log.Error("file of settings cannot be read; what it is for does not work until it is mended", "path", path,
			"reason", strings.TrimPrefix(reason, "damaged file: "),
			"hint", "mend it with an editor, or take it from a backup; 'pillarbox admin check' finds all damaged files")
	})
}

// settings looks at the files of settings that belong to no single domain.
func (c *checker) settings() {
	o := c.office
	_, deviceErr := o.Devices.List()
	_, operatorErr := o.operators.list()
	_, versionErr := durable.DataVersion(o.Root)
	damaged := map[string]error{
		"devices.json": deviceErr, operatorsFile: operatorErr, durable.VersionFile: versionErr,
		watchedFile: o.loadWatched(new(watched)),
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

// damagedFile notes a file of settings that cannot be read. Some errors name the file themselves.
func (c *checker) damagedFile(name string, err error) {
	c.found(Finding{
		Where: "data directory", Problem: ProblemSettings, File: name, Text: strings.TrimPrefix(err.Error(), name+": "),
		Hint: fmt.Sprintf("mend the file (below %s) with an editor, or take it from a backup", c.office.Root.Name()),
	})
}

// checkVersion refuses a data directory that this release would damage.
func checkVersion(fsys durable.FS) error {
	version, err := durable.DataVersion(fsys)
	if err != nil || version.Major <= durable.CurrentVersion().Major {
		return nil // what cannot be read is told when the server starts, and by check
	}
	return Hint(fmt.Errorf("data directory: %w", &durable.NewerError{Version: version}),
		"start the release that wrote it, or restore the backup that was made before the upgrade")
}

// KeepVersion notes that this release writes into the data directory. The server calls it when it starts.
func (o *Service) KeepVersion() error {
	version, err := durable.DataVersion(o.Root)
	if damaged := err != nil; damaged || version.Newer(durable.CurrentVersion()) {
		o.damages.Report(durable.VersionFile, err)
		if !damaged && o.log != nil {
			o.log.Warn("a newer release wrote into the data directory; what this one does not know is kept and has no effect",
				"version", version.String(), "known", durable.CurrentVersion().String())
		}
		return nil
	}
	if _, err := o.Root.Lstat(durable.VersionFile); !errors.Is(err, fs.ErrNotExist) && version == durable.CurrentVersion() {
		return err
	}
	return durable.WriteDataVersion(o.Root)
}
