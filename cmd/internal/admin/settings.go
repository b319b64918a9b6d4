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

// replaceConfig replaces the file whole, with its mode and owner.
func replaceConfig(file string, text []byte) error {
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	root, err := durable.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := durable.WriteFile(root, filepath.Base(file), text, fi.Mode().Perm()); err != nil {
		return err
	}
	if owner, ok := fi.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		err = os.Lchown(file, int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		err = Hint(errors.Join(fmt.Errorf("%s was written, but its owner has changed", file), err), "give it back with 'chown'")
	}
	return err
}
