# Occ3D on nuScenes in the layout that users of BEVDet have on disk (see docs).
data_root = 'data/nuscenes/'
size = (256, 704)
near, far = 1.0, 45.0
grid = (200, 200, 16)
# voxels that are supervised in training, and measured: those that the cameras see. The configs
# named nomask set both to None.
supervise = 'camera'
mask = 'camera'

train_pipeline = [
    dict(type='LoadSurroundImages', size=size, augment=True),
    dict(type='LoadLiDARDepth', near=near, far=far),
    dict(type='LoadOccupancy', supervise=supervise),
    dict(type='RandomFlipBEV'),
    dict(type='PackOccupancy'),
]
test_pipeline = [
    dict(type='LoadSurroundImages', size=size),
    dict(type='LoadOccupancy'),
    dict(type='PackOccupancy'),
]
dataset = dict(
    type='NuScenesOccupancyDataset',
    data_root=data_root,
    labels='occ3d',
    lidar_seg_root='data/lidar_seg',
    grid=grid,
    version='v1.0-trainval',
)

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SequenceSampler', batch_size=2),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        **dataset,
        ann_file='bevdetv2-nuscenes_infos_train.pkl',
        sequence_parts=2,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SceneSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        **dataset,
        ann_file='bevdetv2-nuscenes_infos_val.pkl',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='OccupancyMIoU', mask=mask), dict(type='RayIoUMetric')]
test_evaluator = val_evaluator
