package admin

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/durable"
)

// SettingToWrite is a key of the configuration with its new value.
type SettingToWrite struct {
	File    string   // the configuration file
	Environ []string // that the server would have, as os.Environ
	Key     string
	Value   string // as in TOML
}

// SettingWritten is what was written.
type SettingWritten struct {
	File    string `json:"file"`
	Key     string `json:"key"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Restart bool   `json:"restart"` // a running server takes the value only when it is restarted
	// Overridden is the variable that has another value and wins; "" if none does.
	Overridden string `json:"overridden,omitempty"`
}

// writeSetting writes the value of a key into the configuration file. Other lines and comments stay.
// A result that has a mistake is not written. The running server is not told.
func (o *Service) writeSetting(in SettingToWrite) (SettingWritten, error) {
	w := SettingWritten{File: in.File, Key: in.Key, Restart: len(config.RestartKeys([]string{in.Key})) > 0}
	file, err := filepath.EvalSymlinks(in.File)
	if err != nil {
		return w, err
	}
	text, err := durable.ReadSmallFile(file, durable.MaxSmall)
	if err != nil {
		return w, err
	}
	before, err := config.Parse(in.File, text, in.Environ)
	if err != nil {
		return w, Hint(err, "correct the file first; 'pillarbox config check' checks it")
	}
	text = config.SetText(text, in.Key, in.Value)
	after, err := config.Parse(in.File, text, in.Environ)
	if err != nil {
		return w, Hint(fmt.Errorf("%s = %s was not written: %w", in.Key, in.Value, err), "write another value, or edit the file")
	}
	var overridden string
	w.Before, _ = settingOf(before, in.Key)
	w.After, overridden = settingOf(after, in.Key)
	if w.Overridden = overridden; overridden == "" && w.After != in.Value && w.After == w.Before {
		return w, Hint(fmt.Errorf("%s = %s was not written: %s defines its section in another way", in.Key, in.Value, in.File), "edit the file")
	}
	if err := replaceConfig(file, text); err != nil {
		return w, err
	}
	o.Record(filepath.Base(in.File), map[string]any{in.Key: w.Before}, map[string]any{in.Key: cmp.Or(w.After, in.Value)})
	return w, nil
}

// settingOf returns the value of a key, and the variable that it comes from, if any.
func settingOf(cfg *config.Config, key string) (value, variable string) {
	for _, s := range cfg.Effective() {
		if s.Key == key {
			if name, ok := strings.CutPrefix(s.Source, "env "); ok {
				variable = name
			}
			return s.Value, variable
		}
	}
	return "", ""
}

// replaceConfig replaces the file whole, with its owner, group and mode, and syncs it. A file with
// several hard links is written in place, because a new file would be in one of them only.
func replaceConfig(file string, text []byte) error {
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	own, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be read", file)
	}
	if own.Nlink > 1 {
		return writeInPlace(file, text)
	}
	dir := filepath.Dir(file)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	err = fillLike(temp, text, fi.Mode(), own)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	root, err := durable.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(root.SyncDir("."), root.Close())
}

// fillLike writes and syncs a new file, and gives it an owner, a group and a mode. The mode comes
// after the owner, because a change of the owner can clear bits of the mode.
func fillLike(f *os.File, text []byte, mode os.FileMode, own *syscall.Stat_t) error {
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chown(int(own.Uid), int(own.Gid)); err != nil {
		return Hint(fmt.Errorf("nothing was written, because the new file cannot have the owner "+
			"and group of the old one: %w", err), "run the command as root")
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// writeInPlace writes and syncs a file. If that fails, for example because the disk is full, the old
// text comes back; the disk has room for it.
func writeInPlace(file string, text []byte) error {
	old, err := durable.ReadSmallFile(file, durable.MaxSmall)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	write := func(text []byte) error {
		if _, err := f.WriteAt(text, 0); err != nil {
			return err
		}
		return errors.Join(f.Truncate(int64(len(text))), f.Sync())
	}
	if err = write(text); err != nil {
		err = errors.Join(err, write(old))
	}
	return errors.Join(err, f.Close())
}
