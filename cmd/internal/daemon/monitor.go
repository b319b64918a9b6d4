package daemon

import (
	"context"
	"sync"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/sysinfo"
)

// makeMonitor measures what "pillarbox admin status" tells: how fast the disk fills, and the mail of
// today from before the start.
func (d *Daemon) makeMonitor(*config.Config) (part, error) {
	return loop("monitor", d.sampleDisk, func(ctx context.Context) {
		if err := d.traffic.Restore(ctx, d.office.Root); err != nil && ctx.Err() == nil {
			d.log.Warn("the mail of today from before the start cannot be counted", "error", err)
		}
	}), nil
}

// sampleDisk adds a sample of the disk each hour. A disk that cannot be measured has no samples.
func (d *Daemon) sampleDisk(ctx context.Context) {
	ticker := time.NewTicker(sysinfo.SampleEvery)
	defer ticker.Stop()
	for {
		if disk, err := sysinfo.DiskOf(d.office.Root.Name()); err == nil {
			d.diskSamples.add(sysinfo.Sample{At: time.Now(), Disk: disk})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// diskSamples are samples of the disk of the data directory.
type diskSamples struct {
	mu  sync.Mutex
	all []sysinfo.Sample // owner: mu; a list that was given out does not change
}

func (s *diskSamples) add(one sysinfo.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = sysinfo.Add(s.all, one)
}

func (s *diskSamples) list() []sysinfo.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
