from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('gallery', '0005_turns'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='photo',
            index=models.Index(models.F('attempts'), models.F('priority'), models.F('owner'), models.F('due_at'), models.F('id'), condition=models.Q(('state', 'processing')), name='gallery_photo_turns'),
        ),
    ]
