package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/doctor"
)

// config reports mistakes and warnings of the configuration.
func (e *Env) config(context.Context) findings {
	return judgeConfig(e.Config, e.ConfigErr)
}

func judgeConfig(cfg *config.Config, err error) (all findings) {
	if mistakes, listed := errors.AsType[config.Errors](err); listed {
		for _, m := range mistakes {
			fix := cmp.Or(m.Hint, "correct the file")
			if errors.Is(m.Err, fs.ErrPermission) {
				fix = "run this as root (sudo)"
			}
			m.Hint = ""
			all = append(all, about(cmp.Or(m.Key, m.File), problem(fix, "%s", m.Error())))
		}
		return all
	}
	if err != nil {
		return findings{problem(hintOf(err, "'pillarbox setup' makes one"), "the configuration: %v",
			err)}
	}
	for _, text := range cfg.Warnings {
		all = append(all, about(text, warning("change it, if that is not what you want", "%s",
			text)))
	}
	return orOK(all, "%s has no mistakes", cfg.File())
}

// hintOf returns the hint of an error.
func hintOf(err error, otherwise string) string {
	if hinted, ok := errors.AsType[*admin.HintError](err); ok {
		return hinted.Hint
	}
	return otherwise
}

// data reports a data directory that cannot be opened, or that others can enter.
func (e *Env) data(context.Context) findings {
	switch {
	case e.Config == nil:
		return skipped("the configuration cannot be read")
	case e.Data == nil:
		return findings{problem(hintOf(e.DataErr, "'pillarbox setup' makes it"), "%v", e.DataErr)}
	}
	fi, err := e.Data.Root.Lstat(".")
	if err != nil {
		return failed("the data directory cannot be examined", err)
	}
	return judgeDataMode(e.Data.Root.Name(), fi.Mode())
}

func judgeDataMode(dir string, mode fs.FileMode) findings {
	if mode&0o007 != 0 {
		return findings{problem("'chmod 0700 "+dir+"'",
			"every user of this machine can enter %s (mode %03o)", dir, mode.Perm())}
	}
	return ok("%s can be opened, and other users cannot enter it", dir)
}

// server reports a server that does not run, or does not answer.
func (e *Env) server(ctx context.Context) findings {
	return judgeServer(e.running(ctx), e.Data.ServerPID())
}

// judgeServer judges the error of a question to the server. pid is the process that holds the data
// directory as a server; 0 means that there is none.
func judgeServer(err error, pid int) findings {
	switch {
	case err == nil && pid > 0:
		return ok("the server runs (process %d) and answers", pid)
	case err == nil:
		return ok("the server runs and answers")
	case !errors.Is(err, admin.ErrNotRunning):
		return findings{problem(hintOf(err, "see the server's log: 'journalctl -u pillarbox'"),
			"the server runs, but a question to it failed: %v", err)}
	case pid > 0:
		return findings{problem("'systemctl restart pillarbox'",
			"process %d holds the data directory, but does not answer on the control socket", pid)}
	}
	return findings{problem("'systemctl start pillarbox', or 'pillarbox serve'; its log says "+
		"why it ended: "+
		"'journalctl -u pillarbox'", "the server is not running")}
}

// settings reports settings that do not fit the domains and mailboxes.
func (e *Env) settings(context.Context) (all findings) {
	for _, text := range slices.Concat(e.Data.SettingWarnings(), e.Data.LogInWarnings()) {
		all = append(all, about(text, warning("change the setting, or add what it names", "%s",
			text)))
	}
	return orOK(all, "the settings fit the domains and mailboxes")
}

// owners reports files that the server's account cannot use.
func (e *Env) owners(ctx context.Context) findings {
	return orOK(fromAdmin(e.Data.OwnerFindings(ctx)), "the server's account can use its files")
}

// damage reports settings files in the data directory that cannot be read.
func (e *Env) damage(context.Context) findings {
	return orOK(fromAdmin(e.Data.SettingsFindings()),
		"all settings files in the data directory can be read")
}

// logAndReserve reports a damaged log of accepted mail, and a lost reserve.
func (e *Env) logAndReserve(context.Context) findings {
	return orOK(fromAdmin(e.Data.LogFindings()), "the log is undamaged and has its reserve")
}

// fromAdmin turns findings of 'admin check' into those of this package. Notes are left out.
func fromAdmin(found []admin.Finding) (all findings) {
	for _, f := range found {
		if f.Note {
			continue
		}
		text := f.Text
		if f.File != "" {
			text = fmt.Sprintf("%q: %s", f.File, f.Text)
		}
		all = append(all, about(cmp.Or(f.File, f.Text),
			doctor.Finding{Severity: doctor.Error, Message: text, Fix: f.Hint}))
	}
	return all
}
