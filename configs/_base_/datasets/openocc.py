# OpenOcc on nuScenes: occupancy with flow. BEVDet's info files, as in the released configs;
# OpenOcc's own (nuscenes_infos_{train,val}_occ.pkl) are read too.
data_root = 'data/nuscenes/'
size = (256, 704)
near, far = 1.0, 45.0
grid = (200, 200, 16)

train_pipeline = [
    dict(type='LoadSurroundImages', size=size, augment=True),
    # classes of the points in Occ3D's numbers, as in the released configs
    dict(type='LoadLiDARDepth', near=near, far=far),
    dict(type='LoadOccupancy', supervise='rays'),
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
    labels='openocc',
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
        ray_mask_root=data_root + 'openocc_v2_ray_mask',
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
val_evaluator = [dict(type='RayIoUMetric', flow=True)]
test_evaluator = val_evaluator
